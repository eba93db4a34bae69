"""Queries on workers. Callers own the transaction."""

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.db.transactions import current_time, insert_into
from app.workers.models import UnfitWorker

# An unfit worker reports every minute. One that has been silent for longer is gone.
_KNOWN_FOR = timedelta(minutes=3)


class WorkerRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def note_unfit(self, worker: str, reason: str) -> None:
        """Record that this worker cannot work, and the reason."""
        values = {"reason": reason, "seen_at": current_time(self._session)}
        insert = insert_into(self._session, UnfitWorker).values(worker=worker, **values)
        self._session.execute(insert.on_conflict_do_update(index_elements=["worker"], set_=values))

    def note_fit(self, worker: str) -> None:
        """Remove the record of this worker, and those of workers that are gone."""
        silent = UnfitWorker.seen_at < current_time(self._session) - _KNOWN_FOR
        self._session.execute(delete(UnfitWorker).where((UnfitWorker.worker == worker) | silent))

    def unfit(self) -> Mapping[str, int]:
        """Count the workers that currently cannot work, by reason."""
        recent = UnfitWorker.seen_at >= current_time(self._session) - _KNOWN_FOR
        query = select(UnfitWorker.reason, func.count()).where(recent).group_by(UnfitWorker.reason)
        return dict(self._session.execute(query).all())
