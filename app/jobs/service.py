"""What can be done with jobs, as the routes need it: each method is one unit of work."""

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

import uuid_utils

from app.access.quotas import Quotas
from app.database import Sessions
from app.jobs.models import TERMINAL, Job, JobStatus
from app.jobs.relay import Relay
from app.jobs.repository import JobRepository, NewJob
from app.problems import Problem
from app.schemas import JobPage, JobView
from app.storage import ArtifactStore, StoredArtifact
from app.submission import Submission


class JobService:
    """What all jobs share; `of` gives what one tenant can do with its own."""

    def __init__(self, sessions: Sessions, store: ArtifactStore, relay: Relay, quotas: Quotas) -> None:
        self._sessions = sessions
        self._store = store
        self._relay = relay
        self._quotas = quotas

    def of(self, tenant: str) -> "TenantJobs":
        """The jobs of a tenant."""
        return TenantJobs(tenant, self._sessions, self._store, self._relay, self._quotas)

    def check(self) -> None:
        """Raise if the database or the store cannot be used."""
        with self._sessions.begin() as session:
            JobRepository(session).now()
        self._store.check()


class TenantJobs:
    """Submits, finds and cancels the jobs of one tenant, and finds their results. Those of others are unknown."""

    def __init__(self, tenant: str, sessions: Sessions, store: ArtifactStore, relay: Relay, quotas: Quotas) -> None:
        self._tenant = tenant
        self._sessions = sessions
        self._store = store
        self._relay = relay
        self._quotas = quotas

    def admit(self) -> None:
        """Refuse a job before its checkpoint comes. Raises `Problem` (`too-many-jobs`, `storage-full`)."""
        if self._quotas.limited:
            with self._sessions.begin() as session:
                self._quotas.refuse(JobRepository(session).usage(self._tenant))

    def submit(self, submission: Submission) -> JobView:
        """Queue a job. When this returns, its row is committed. Raises `Problem` (`too-many-jobs`, `storage-full`)."""
        new = NewJob(
            id=f"job_{uuid_utils.uuid7().hex}",
            tenant=self._tenant,
            device=submission.options.device.value,
            options=submission.options.model_dump(mode="json"),
            checkpoint_sha256=submission.checkpoint.sha256,
            checkpoint_bytes=submission.checkpoint.size,
        )
        with self._sessions.begin() as session:
            repository = JobRepository(session)
            if self._quotas.limited:
                repository.lock(self._tenant)
                self._quotas.refuse(repository.usage(self._tenant), submission.checkpoint.size)
            view = JobView.of(repository.add(new))
        self._relay.wake()
        return view

    def get(self, job_id: str) -> JobView:
        """Find a job. Raises `Problem` (`unknown-job`)."""
        with self._sessions.begin() as session:
            return JobView.of(self._existing(JobRepository(session), job_id))

    def page(self, *, status: JobStatus | None, cursor: str | None, limit: int) -> JobPage:
        """List jobs, newest first. The cursor is the id of the last job seen."""
        with self._sessions.begin() as session:
            jobs = JobRepository(session).page(self._tenant, status=status, before=cursor, limit=limit + 1)
            items = [JobView.of(job) for job in jobs[:limit]]
        return JobPage(items=items, next_cursor=items[-1].id if len(jobs) > limit else None)

    def cancel(self, job_id: str) -> JobView:
        """Cancel a job; doing so again changes nothing. Raises `Problem` (`unknown-job`, `job-ended`)."""
        with self._sessions.begin() as session:
            repository = JobRepository(session)
            hit = repository.request_cancel(job_id, self._tenant)
            view = JobView.of(self._existing(repository, job_id))
        if not hit and view.status is not JobStatus.CANCELED:
            raise Problem(
                HTTPStatus.CONFLICT, "job-ended", f"The job has already {view.status}; there is nothing left to cancel."
            )
        return view

    def artifact(self, job_id: str, name: str, needs: Sequence[str] = ()) -> tuple[StoredArtifact, Path]:
        """Find a result that comes only to jobs with the options `needs`.

        Raises `Problem` (`unknown-job`, `not-asked-for`, `no-results`, `no-such-result`).
        """
        with self._sessions.begin() as session:
            job = self._existing(JobRepository(session), job_id)
            status, error, artifacts = JobStatus(job.status), job.error_message, job.artifacts or {}
            missing = [option for option in needs if not job.options.get(option)]
        if missing:
            raise Problem(HTTPStatus.NOT_FOUND, "not-asked-for", _how_to_ask(missing))
        if status is not JobStatus.SUCCEEDED:
            raise Problem(HTTPStatus.CONFLICT, "no-results", _why_no_results(status, error))
        if name not in artifacts:
            raise Problem(HTTPStatus.NOT_FOUND, "no-such-result", f"The job has left no {name}.")
        stored = StoredArtifact(artifacts[name]["sha256"], artifacts[name]["bytes"])
        return stored, self._store.path(stored.sha256)

    def _existing(self, repository: JobRepository, job_id: str) -> Job:
        job = repository.get(job_id, self._tenant)
        if job is None:
            raise Problem(HTTPStatus.NOT_FOUND, "unknown-job", "There is no job with this id.")
        return job


def _how_to_ask(missing: Sequence[str]) -> str:
    options = " and ".join(f"`{option}`" for option in missing)
    return f"The job was not asked for this result: submit the checkpoint again with the option {options}."


def _why_no_results(status: JobStatus, error: str | None) -> str:
    if status is JobStatus.FAILED:
        return f"The job has failed and has no results: {error}"
    if status in TERMINAL:
        return "The job was canceled and has no results; submit it again."
    return f"The job is {status}; its results come when its status is succeeded."
