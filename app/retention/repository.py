"""Queries of the collector that concern several tables. Callers own the transaction."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.accounting.models import Reservation
from app.datasets.models import Dataset
from app.db.engine import current_time, insert_into
from app.jobs.models import ArtifactUse, IdempotencyKey
from app.retention.models import Lease
from app.uploads.models import Upload


class CollectionRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def lease(self, name: str, holder: str, duration: timedelta) -> bool:
        """Take or extend a lease. Returns False if another holder has it."""
        now = current_time(self._session)
        mine = {"holder": holder, "held_until": now + duration}
        self._session.execute(
            insert_into(self._session, Lease)
            .values(name=name, **mine)
            .on_conflict_do_update(
                index_elements=["name"], set_=mine, where=(Lease.held_until <= now) | (Lease.holder == holder)
            )
        )
        return self._session.scalars(select(Lease.holder).where(Lease.name == name)).one() == holder

    def release(self, name: str, holder: str) -> None:
        """Release a lease."""
        self._session.execute(delete(Lease).where(Lease.name == name, Lease.holder == holder))

    def expire_keys(self) -> None:
        """Delete expired idempotency keys."""
        self._session.execute(delete(IdempotencyKey).where(IdempotencyKey.expires_at <= current_time(self._session)))

    def expire_reservations(self) -> None:
        """Delete expired reservations, whose process has died."""
        self._session.execute(delete(Reservation).where(Reservation.expires_at <= current_time(self._session)))

    def unused(self, digests: Sequence[str]) -> set[str]:
        """Return those of the artifacts that no job, upload or data set needs."""
        by_jobs = select(ArtifactUse.sha256).where(ArtifactUse.sha256.in_(digests))
        by_uploads = select(Upload.sha256).where(Upload.sha256.in_(digests))
        by_datasets = select(Dataset.sha256).where(Dataset.sha256.in_(digests))
        return set(digests) - set(self._session.scalars(by_jobs.union(by_uploads, by_datasets)))
