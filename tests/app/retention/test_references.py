"""Files that are in use stay, for any sequence of actions of clients, workers and the collector."""

import hashlib
import os
import tempfile
from datetime import timedelta
from pathlib import Path

import uuid_utils
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from sqlalchemy import update

from app.accounting.discards import DiscardRepository
from app.datasets.repository import DatasetRepository
from app.db.engine import create_sessions
from app.db.schema import migrate
from app.jobs.accounts import ACCOUNTS
from app.jobs.models import Job
from app.jobs.repository import JobRepository, NewJob
from app.retention.collector import Collector
from app.settings import Settings
from app.storage import StoredArtifact
from app.storage.folder import FolderStore
from app.uploads.models import Upload
from app.uploads.repository import UploadRepository
from nern_core.formats.dataset_structure import DatasetStructure

CONTENTS = st.sampled_from([b"one", b"two", b"three"])
NAMES = st.sampled_from(["small", "large"])
NO_IMAGES = DatasetStructure(splits={}, arrays={}, is_labelled=False)
HOUR = timedelta(hours=1)


class Files(RuleBasedStateMachine):
    """A model of the references to files, beside the real database and store."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._settings = Settings(data_dir=Path(self._folder.name))
        migrate(self._settings)
        self._sessions = create_sessions(self._settings)
        self._store = FolderStore(self._settings.artifacts)
        self._collector = Collector(self._settings, self._sessions, self._store)
        self._needed: dict[str, set[str]] = {}
        self._uploaded: set[str] = set()
        self._datasets: dict[str, str] = {}
        self._used_datasets: dict[str, str] = {}

    def teardown(self) -> None:
        self._sessions.kw["bind"].dispose()
        self._folder.cleanup()

    @rule(content=CONTENTS)
    def leave_behind(self, content: bytes) -> None:
        self._put(content)

    @rule(content=CONTENTS)
    def upload(self, content: bytes) -> None:
        with self._sessions.begin() as session:
            UploadRepository(session).add("default", self._put(content), len(content), HOUR)
        self._uploaded.add(digest_of(content))

    @rule()
    def let_uploads_expire(self) -> None:
        with self._sessions.begin() as session:
            session.execute(update(Upload).values(expires_at=Upload.created_at))
        self._uploaded.clear()

    @rule(name=NAMES, content=CONTENTS)
    def keep_dataset(self, name: str, content: bytes) -> None:
        if name not in self._datasets:
            with self._sessions.begin() as session:
                stored = StoredArtifact(self._put(content), len(content))
                DatasetRepository(session).add("default", name, stored, NO_IMAGES)
            self._datasets[name] = stored.sha256

    @rule(name=NAMES)
    def delete_dataset(self, name: str) -> None:
        with self._sessions.begin() as session:
            deleted = DatasetRepository(session).delete("default", name)
            if deleted is not None:
                DiscardRepository(session, ACCOUNTS).add("default", {deleted.sha256: deleted.size})
        assert (deleted and deleted.sha256) == self._datasets.pop(name, None)

    @rule(target=jobs, content=CONTENTS, dataset=NAMES)
    def submit(self, content: bytes, dataset: str) -> str:
        job_id = f"job_{uuid_utils.uuid7().hex}"
        with self._sessions.begin() as session:
            new = NewJob(
                id=job_id,
                tenant="default",
                device="cpu",
                options={},
                checkpoint_sha256=self._put(content),
                checkpoint_bytes=len(content),
                dataset_sha256=self._datasets.get(dataset),
            )
            JobRepository(session).add(new)
        self._needed[job_id] = {digest_of(content)}
        if dataset in self._datasets:
            self._used_datasets[job_id] = self._datasets[dataset]
        return job_id

    @rule(job=jobs, results=st.lists(CONTENTS, max_size=3))
    def finish(self, job: str, results: list[bytes]) -> None:
        artifacts = {
            str(number): {"sha256": self._put(content), "bytes": len(content)} for number, content in enumerate(results)
        }
        with self._sessions.begin() as session:
            repository = JobRepository(session)
            claim = repository.claim(job, HOUR)
            if claim is not None and repository.succeed(claim, {}, artifacts):
                self._needed[job] |= {digest_of(content) for content in results}
                self._used_datasets.pop(job, None)

    @rule(job=jobs)
    def cancel_and_delete(self, job: str) -> None:
        with self._sessions.begin() as session:
            repository = JobRepository(session)
            repository.request_cancel(job, "default")
            self._used_datasets.pop(job, None)
            if repository.delete(job, "default"):
                del self._needed[job]

    @rule(job=jobs)
    def let_expire(self, job: str) -> None:
        with self._sessions.begin() as session:
            found = JobRepository(session).get(job, "default")
            if found is not None and found.finished_at is not None:
                session.execute(
                    update(Job).where(Job.id == job).values(finished_at=found.finished_at - self._settings.keep_results)
                )
                self._needed[job] = set()

    @rule()
    def collect(self) -> None:
        for path in self._settings.artifacts.rglob("*"):
            os.utime(path, (0, 0))
        assert self._collector.round()
        assert self._files() == self._all_needed()

    @invariant()
    def what_is_needed_is_there(self) -> None:
        assert self._all_needed() <= self._files()

    def _all_needed(self) -> set[str]:
        return self._uploaded.union(*self._needed.values(), self._datasets.values(), self._used_datasets.values())

    def _files(self) -> set[str]:
        return {path.name for path in self._settings.artifacts.glob("[0-9a-f][0-9a-f]/*")}

    def _put(self, content: bytes) -> str:
        with self._store.writer() as writer:
            writer.write(content)
            return writer.commit().sha256


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


TestFiles = Files.TestCase
TestFiles.settings = settings(max_examples=15, stateful_step_count=20, suppress_health_check=[HealthCheck.too_slow])
