"""Every query on workers. Callers own the transaction."""

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.database import current_time, insert_into
from app.workers.models import UnfitWorker

# A worker that cannot work says so every minute. One that has been silent for longer is gone.
_KNOWN_FOR = timedelta(minutes=3)


class WorkerRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def note_unfit(self, worker: str, reason: str) -> None:
        """This worker cannot work."""
        told = {"reason": reason, "seen_at": current_time(self._session)}
        insert = insert_into(self._session, UnfitWorker).values(worker=worker, **told)
        self._session.execute(insert.on_conflict_do_update(index_elements=["worker"], set_=told))

    def note_fit(self, worker: str) -> None:
        """This worker can work again. What the silent ones have said is forgotten with it."""
        silent = UnfitWorker.seen_at < current_time(self._session) - _KNOWN_FOR
        self._session.execute(delete(UnfitWorker).where((UnfitWorker.worker == worker) | silent))

    def unfit(self) -> Mapping[str, int]:
        """How many workers cannot work at present, by reason."""
        recent = UnfitWorker.seen_at >= current_time(self._session) - _KNOWN_FOR
        query = select(UnfitWorker.reason, func.count()).where(recent).group_by(UnfitWorker.reason)
        return dict(self._session.execute(query).all())
