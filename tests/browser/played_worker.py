"""A worker played by the test: it changes the rows of a job as a worker does, when the test wants."""

from collections.abc import Mapping
from datetime import timedelta

from app.db.transactions import Sessions
from app.jobs.repository import JobRepository
from app.settings import Settings
from app.storage import open_store
from tests.nern_client.conftest import METRICS

LEASE = timedelta(minutes=10)


class PlayedWorker:
    """The worker of one job, which it claims."""

    def __init__(self, settings: Settings, sessions: Sessions, job_id: str) -> None:
        self._settings = settings
        self._sessions = sessions
        with sessions.begin() as session:
            claim = JobRepository(session).claim(job_id, LEASE)
        assert claim is not None
        self._claim = claim

    def report(self, phase: str, step: int, loss: float) -> None:
        """Write the progress."""
        progress = {"step": step, "total": 100, "fraction": step / 100, "loss": loss}
        with self._sessions.begin() as session:
            assert JobRepository(session).heartbeat(self._claim, LEASE, phase, progress) is not None

    def succeed(self, results: Mapping[str, bytes]) -> None:
        """Store and publish results."""
        described = {}
        for name, content in results.items():
            with open_store(self._settings).writer() as writer:
                writer.write(content)
                described[name] = writer.commit().described()
        with self._sessions.begin() as session:
            assert JobRepository(session).succeed(self._claim, METRICS, described)

    def fail(self, code: str, message: str) -> None:
        """End the job with an error."""
        with self._sessions.begin() as session:
            assert JobRepository(session).fail(self._claim, code, message)

    def confirm_cancel(self) -> None:
        """Confirm that the job is canceled."""
        with self._sessions.begin() as session:
            assert JobRepository(session).confirm_cancel(self._claim)
