"""Base of all statements on jobs: the session, the database's clock, and counts of hits."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import Delete, Update

from app.db.transactions import current_time, rows_changed
from app.jobs.events.repository import EventRepository
from app.jobs.models import ArtifactUse


class Statements:
    """Statements of one session, whose transaction the caller owns."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._events = EventRepository(session)

    def now(self) -> datetime:
        """Return the time of the database's clock."""
        return current_time(self._session)

    def _hit(self, statement: Update | Delete) -> bool:
        return self._count(statement) == 1

    def _count(self, statement: Update | Delete) -> int:
        # The statement bypasses the session's objects, so they have to be read again.
        count = rows_changed(self._session, statement.execution_options(synchronize_session=False))
        self._session.expire_all()
        return count

    def _use(self, job_id: str, digests: Iterable[str]) -> None:
        for digest in set(digests):
            self._session.merge(ArtifactUse(job_id=job_id, sha256=digest))

    def _stop_using(self, job_id: str, digest: str) -> None:
        used = (ArtifactUse.job_id == job_id, ArtifactUse.sha256 == digest)
        self._session.execute(delete(ArtifactUse).where(*used))
