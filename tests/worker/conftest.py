from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
import uuid_utils

from app.db.engine import create_sessions
from app.db.schema import migrate
from app.db.transactions import Sessions
from app.jobs.kinds import JobKind
from app.jobs.models import Job
from app.jobs.repository import JobRepository, NewJob
from app.kit.tenants import DEFAULT_TENANT
from app.settings import Settings
from app.storage import open_store
from app.storage.folder import FolderStore
from nern_core.contract.options import EncodeOptions
from tests.conftest import EXAMPLE
from tests.worker.in_process import RunHere, run_in_process
from worker.folder import RunFolder


class Jobs:
    """Jobs in the database, without the API."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sessions: Sessions = create_sessions(settings)
        self.store = open_store(settings)

    @property
    def folder(self) -> FolderStore:
        """The store, if it is a folder, for inspection."""
        return FolderStore(self.settings.artifacts)

    def submit(
        self,
        checkpoint: Path = EXAMPLE,
        dataset_file: Path | None = None,
        deadline: timedelta | None = None,
        **options: Any,
    ) -> str:
        stored = self.store.put(checkpoint)
        dataset = None if dataset_file is None else self.store.put(dataset_file)
        new = NewJob(
            id=f"job_{uuid_utils.uuid7().hex}",
            tenant=DEFAULT_TENANT,
            device="cpu",
            options=EncodeOptions(**options).model_dump(mode="json"),
            checkpoint_sha256=stored.sha256,
            checkpoint_bytes=stored.size,
            dataset_sha256=None if dataset is None else dataset.sha256,
            deadline=deadline,
        )
        with self.sessions.begin() as session:
            return JobRepository(session).add(new).id

    def submit_encoding(self, encoding: Path, expected_bytes: int = 0) -> str:
        """Submit a reconstruction of any file."""
        stored = self.store.put(encoding)
        new = NewJob(
            id=f"job_{uuid_utils.uuid7().hex}",
            tenant=DEFAULT_TENANT,
            kind=JobKind.RECONSTRUCTION,
            device="cpu",
            options={},
            checkpoint_sha256=stored.sha256,
            checkpoint_bytes=stored.size,
            expected_bytes=expected_bytes,
        )
        with self.sessions.begin() as session:
            return JobRepository(session).add(new).id

    def get(self, job_id: str) -> Job:
        with self.sessions.begin() as session:
            job = JobRepository(session).get(job_id, DEFAULT_TENANT)
        assert job is not None
        return job

    def cancel(self, job_id: str) -> None:
        with self.sessions.begin() as session:
            assert JobRepository(session).request_cancel(job_id, DEFAULT_TENANT)

    def take_away(self, job_id: str) -> None:
        """Take the job away, like the sweeper after an expired lease."""
        with self.sessions.begin() as session:
            job = session.get(Job, job_id)
            assert job is not None
            job.lease_until = job.created_at - timedelta(seconds=1)
            # In the same transaction, so that no heartbeat extends the lease before.
            session.flush()
            assert JobRepository(session).expire_leases(3) == 1

    def close(self) -> None:
        self.sessions.kw["bind"].dispose()


@pytest.fixture(autouse=True, scope="package")
def plain_tracebacks() -> Iterator[None]:
    """Log errors without the values of variables, whose rendering takes seconds."""
    *first, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*first, renderer])
    yield
    structlog.reset_defaults()


@pytest.fixture
def jobs(settings: Settings) -> Iterator[Jobs]:
    migrate(settings)
    jobs = Jobs(settings)
    yield jobs
    jobs.close()


@pytest.fixture
def embedded_jobs(embedded: Settings) -> Iterator[Jobs]:
    migrate(embedded)
    jobs = Jobs(embedded)
    yield jobs
    jobs.close()


@pytest.fixture
def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunHere:
    """Run the runner in this process, in the folder `tmp_path`."""
    monkeypatch.setattr("worker.runner._confine", lambda folder, spec: None)
    # The runner changes into the folder of data sets; this is undone after the test.
    monkeypatch.chdir(tmp_path)
    return partial(run_in_process, RunFolder(tmp_path))
