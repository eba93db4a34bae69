"""Every query on webhooks. Callers own the transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import uuid_utils
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.database import current_time, insert_into, rows_changed
from app.fair_shares import FairShares
from app.jobs.models import JobStatus
from app.webhooks.models import WebhookDelivery, WebhookSecret
from app.webhooks.signing import new_secret
from app.webhooks.webhook import WebhookEvent

# Looked at in one round.
_MOST_CANDIDATES = 500
_EVENTS = {
    JobStatus.SUCCEEDED: WebhookEvent.SUCCEEDED,
    JobStatus.FAILED: WebhookEvent.FAILED,
    JobStatus.CANCELED: WebhookEvent.CANCELED,
}


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery that one courier has taken: nobody else tries it for a while."""

    id: str
    job_id: str
    tenant: str
    event: str
    attempts: int
    log: Sequence[Mapping[str, Any]]
    created_at: datetime


class WebhookRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def now(self) -> datetime:
        """The database's clock."""
        return current_time(self._session)

    def note(
        self, job_id: str, tenant: str, status: JobStatus, webhook: Mapping[str, Any] | None, now: datetime
    ) -> None:
        """Note that a job has a new status; a delivery that its webhook wants is due at once."""
        event = _EVENTS.get(status)
        if event is None or not _wants(webhook, event):
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
        """Take what is due, up to `most` of each tenant and within its share; the longest due of each tenant first.

        Nobody else takes it for the time of `hold`. `shares` are only read: the caller takes them.
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
                taken.append(Due(row.id, row.job_id, row.tenant, row.event, row.attempts, row.log, row.created_at))
        return taken

    def settle(self, due: Due, entry: Mapping[str, Any], *, delivered: bool, pause: timedelta | None) -> bool:
        """Note an attempt, and when the next one is due. False: another courier was quicker, or the job is deleted."""
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
        """The deliveries of a job, the first one first."""
        query = select(WebhookDelivery).where(WebhookDelivery.job_id == job_id, WebhookDelivery.tenant == tenant)
        return self._session.scalars(query.order_by(WebhookDelivery.id)).all()

    def pending(self) -> int:
        """Count the deliveries that are still to be made."""
        query = select(func.count()).where(WebhookDelivery.due_at.is_not(None))
        return self._session.scalars(query).one()

    def pending_of(self, tenant: str, most: int) -> int:
        """Count a tenant's deliveries that are still to be made, up to `most`."""
        query = select(WebhookDelivery.id).where(WebhookDelivery.due_at.is_not(None), WebhookDelivery.tenant == tenant)
        counted = query.limit(most).subquery()
        return self._session.scalars(select(func.count()).select_from(counted)).one()

    def secret(self, tenant: str) -> WebhookSecret:
        """Find the secret of the tenant's webhooks, or make it at the first time."""
        self._session.execute(
            insert_into(self._session, WebhookSecret)
            .values(tenant=tenant, secret=new_secret())
            .on_conflict_do_nothing(index_elements=["tenant"])
        )
        return self._session.get_one(WebhookSecret, tenant)

    def signing_secrets(self, tenant: str) -> list[str]:
        """All secrets that sign now, the newest first."""
        found = self.secret(tenant)
        if found.previous is None or found.previous_until is None or found.previous_until <= self.now():
            return [found.secret]
        return [found.secret, found.previous]

    def rotate(self, tenant: str, overlap: timedelta) -> WebhookSecret:
        """Make a new secret; the present one signs too for the time of `overlap`."""
        found = self.secret(tenant)
        found.previous, found.previous_until, found.secret = found.secret, self.now() + overlap, new_secret()
        self._session.flush()
        return found

    def _hold(self, row: WebhookDelivery, until: datetime) -> bool:
        seen = update(WebhookDelivery).where(WebhookDelivery.id == row.id, WebhookDelivery.due_at == row.due_at)
        held = seen.values(due_at=until).execution_options(synchronize_session=False)
        return rows_changed(self._session, held) == 1


def _wants(webhook: Mapping[str, Any] | None, event: WebhookEvent) -> bool:
    """Tell whether a webhook wants an event; one of another release that does not list its events wants all."""
    if not isinstance(webhook, Mapping):
        return False
    events = webhook.get("events")
    return event in events if isinstance(events, list) else True
