"""Queries on deliveries. Callers own the transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import uuid_utils
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.db.stored_documents import read_list
from app.db.transactions import current_time, rows_changed
from app.jobs.deliveries.models import WebhookDelivery
from app.kit.fair_shares import FairShares
from app.webhooks.webhook import WebhookEvent

# Deliveries read in one round.
_MOST_CANDIDATES = 500


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery that one courier has taken and holds for a while."""

    id: str
    job_id: str
    tenant: str
    event: str
    attempts: int
    log: Sequence[Mapping[str, Any]]
    created_at: datetime


class DeliveryRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def now(self) -> datetime:
        """Return the time of the database's clock."""
        return current_time(self._session)

    def note(
        self, job_id: str, tenant: str, event: WebhookEvent, webhook: Mapping[str, Any] | None, now: datetime
    ) -> None:
        """Add a delivery of an event, due at once, if the job's webhook wants it."""
        if not _wants(webhook, event):
            return
        self._session.add(
            WebhookDelivery(
                id=f"msg_{uuid_utils.uuid7().hex}",
                job_id=job_id,
                tenant=tenant,
                event=event,
                attempts=0,
                log=[],
                created_at=now,
                due_at=now,
            )
        )

    def take(self, most: int, hold: timedelta, shares: FairShares) -> list[Due]:
        """Take due deliveries, up to `most` per tenant and within its share, longest due first.

        No other courier takes them during `hold`. `shares` is only read: the caller takes from it.
        """
        now, planned = self.now(), shares.copy()
        turn = func.row_number().over(partition_by=WebhookDelivery.tenant, order_by=WebhookDelivery.due_at)
        due = select(WebhookDelivery.id, turn.label("turn")).where(WebhookDelivery.due_at <= now).subquery()
        query = (
            select(WebhookDelivery)
            .join(due, due.c.id == WebhookDelivery.id)
            .where(due.c.turn <= most)
            .order_by(due.c.turn, WebhookDelivery.due_at)
            .limit(_MOST_CANDIDATES)
        )
        taken = []
        for row in self._session.scalars(query).all():
            if planned.may_take(row.tenant) and self._hold(row, now + hold):
                planned.take(row.tenant)
                log = read_list(row.log)
                taken.append(Due(row.id, row.job_id, row.tenant, row.event, row.attempts, log, row.created_at))
        return taken

    def settle(self, due: Due, entry: Mapping[str, Any], *, delivered: bool, pause: timedelta | None) -> bool:
        """Record an attempt and schedule the next. False: another courier was first, or the job was deleted."""
        now = self.now()
        attempted = (
            update(WebhookDelivery)
            .where(WebhookDelivery.id == due.id, WebhookDelivery.attempts == due.attempts)
            .values(
                attempts=due.attempts + 1,
                log=[*due.log, {"at": now.isoformat(), **entry}],
                due_at=None if pause is None else now + pause,
                delivered_at=now if delivered else None,
            )
        )
        return rows_changed(self._session, attempted) == 1

    def of_job(self, job_id: str, tenant: str) -> Sequence[WebhookDelivery]:
        """Return the deliveries of a job, oldest first."""
        query = select(WebhookDelivery).where(WebhookDelivery.job_id == job_id, WebhookDelivery.tenant == tenant)
        return self._session.scalars(query.order_by(WebhookDelivery.id)).all()

    def forget(self, job_id: str) -> None:
        """Delete the deliveries of a job."""
        self._session.execute(delete(WebhookDelivery).where(WebhookDelivery.job_id == job_id))

    def pending(self) -> int:
        """Count the pending deliveries."""
        query = select(func.count()).where(WebhookDelivery.due_at.is_not(None))
        return self._session.scalars(query).one()

    def pending_of(self, tenant: str, most: int) -> int:
        """Count a tenant's pending deliveries, up to `most`."""
        query = select(WebhookDelivery.id).where(WebhookDelivery.due_at.is_not(None), WebhookDelivery.tenant == tenant)
        counted = query.limit(most).subquery()
        return self._session.scalars(select(func.count()).select_from(counted)).one()

    def _hold(self, row: WebhookDelivery, until: datetime) -> bool:
        seen = update(WebhookDelivery).where(WebhookDelivery.id == row.id, WebhookDelivery.due_at == row.due_at)
        held = seen.values(due_at=until).execution_options(synchronize_session=False)
        return rows_changed(self._session, held) == 1


def _wants(webhook: Mapping[str, Any] | None, event: WebhookEvent) -> bool:
    """Return whether a webhook wants an event; one of another release without a list of events wants all."""
    if not isinstance(webhook, Mapping):
        return False
    events = webhook.get("events")
    return event in events if isinstance(events, list) else True
