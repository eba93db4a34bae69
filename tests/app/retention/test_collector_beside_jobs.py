"""Two collectors that both believe to hold the lease, beside clients that store, use and delete the same few files."""

import random
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

import pytest

from app.accounting.discards import DiscardRepository
from app.db.engine import create_sessions
from app.db.schema import migrate
from app.db.transactions import Sessions
from app.jobs.accounts import ACCOUNTS
from app.jobs.repository import JobRepository, NewJob
from app.retention.collector import Collector
from app.settings import Settings
from app.storage import ArtifactMissing
from app.storage.folder import FolderStore

GRACE = 0.5
CONTENTS = [bytes([number]) * 100 for number in range(3)]


class Client:
    """Uses a file repeatedly for a while, and records files that went missing meanwhile."""

    def __init__(self, number: int, settings: Settings, sessions: Sessions) -> None:
        self.lost: list[str] = []
        self.found_removed = 0
        self._number = number
        self._sessions = sessions
        self._store = FolderStore(settings.artifacts)
        self._dice = random.Random(number)

    def run(self) -> None:
        for turn in range(8):
            digest = self._store_one()
            job_id = f"job_{self._number:016}{turn:016}"
            named_in_time = self._name(job_id, digest)
            time.sleep(self._dice.uniform(0, 3 * GRACE))
            if named_in_time and not self._store.path(digest).exists():
                self.lost.append(digest)
            self._delete(job_id)
            time.sleep(self._dice.uniform(0, GRACE))

    def _store_one(self) -> str:
        content = self._dice.choice(CONTENTS)
        with self._store.writer() as writer:
            writer.write(content)
            self.found_removed += not self._store.path(writer.sha256).exists()
            return writer.commit().sha256

    def _name(self, job_id: str, digest: str) -> bool:
        """Create a job; return false if that took longer than the short grace time that protects its file."""
        new = NewJob(
            id=job_id, tenant="default", device="cpu", options={}, checkpoint_sha256=digest, checkpoint_bytes=100
        )
        with self._sessions.begin() as session:
            began = time.monotonic()
            try:
                self._store.renew(digest)
            except ArtifactMissing:
                return False
            JobRepository(session).add(new)
        return time.monotonic() - began < GRACE

    def _delete(self, job_id: str) -> None:
        with self._sessions.begin() as session:
            JobRepository(session).request_cancel(job_id, "default")
            files = JobRepository(session).delete(job_id, "default")
            DiscardRepository(session, ACCOUNTS).add("default", files)


class SlowCollector(Collector):
    """Waits between reading the rows and removing the files."""

    def _unused(self, digests: Sequence[str]) -> list[str]:
        unused = super()._unused(digests)
        time.sleep(GRACE / 2)
        return unused


def collect(settings: Settings, sessions: Sessions, stop: threading.Event) -> None:
    collector = SlowCollector(settings, sessions, FolderStore(settings.artifacts))
    collector._name = "the only one"
    while not stop.wait(0.01):
        collector._remove_unused()


@pytest.mark.slow
def test_collectors_never_take_what_a_job_has_begun_to_use(settings: Settings) -> None:
    hasty = settings.model_copy(update={"collect_grace": timedelta(seconds=GRACE)})
    migrate(hasty)
    sessions = create_sessions(hasty)
    stop = threading.Event()
    clients = [Client(number, hasty, sessions) for number in range(4)]
    collectors = [threading.Thread(target=collect, args=(hasty, sessions, stop)) for _ in range(2)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in collectors + threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    for thread in collectors:
        thread.join()
    sessions.kw["bind"].dispose()
    assert [client.lost for client in clients] == [[]] * 4
    # Otherwise nothing was tested.
    assert sum(client.found_removed for client in clients) > 3
