"""Operations on jobs for the routes; each method is one unit of work."""

from collections.abc import Collection, Sequence
from http import HTTPStatus

from sqlalchemy.orm import Session

from app.accounting.accounts import lock_tenant
from app.accounting.discards import DiscardRepository, Discards, lock_files
from app.accounting.quotas import BYTES_OF_A_JOB, MOST_DELIVERIES, Quotas, refuse_deliveries
from app.accounting.reservations import ReservedRoom
from app.datasets.service import dataset_lost
from app.db.transactions import Sessions, current_time, transact
from app.jobs.accounts import ACCOUNTS
from app.jobs.deliveries.repository import DeliveryRepository
from app.jobs.draft import Draft
from app.jobs.idempotency import BoundKey, HeldKey, fingerprint, key_reused
from app.jobs.ids import new_job_id, unknown_job
from app.jobs.kinds import JobKind
from app.jobs.models import Job, JobStatus
from app.jobs.reader import JobReader
from app.jobs.relay import Relay
from app.jobs.repository import JobRepository, NewJob
from app.jobs.results import result_of
from app.jobs.schemas import JobPage, JobView
from app.jobs.submission.labels import Label
from app.jobs.submission.model import Submission
from app.kit.problems import Problem
from app.settings import Settings
from app.storage import ArtifactMissing, ArtifactStore, StoredArtifact
from app.uploads.service import unknown_checkpoint
from nern_core.contract.options import Device


class JobService:
    """Jobs of all tenants; `of` returns those of one tenant."""

    def __init__(self, settings: Settings, sessions: Sessions, store: ArtifactStore, relay: Relay) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._relay = relay
        self._quotas = Quotas.of(settings)
        self._reader = JobReader(sessions, settings.keep_results)

    def of(self, tenant: str) -> "TenantJobs":
        """Return the jobs of a tenant."""
        return TenantJobs(tenant, self._settings, self._sessions, self._store, self._relay, self._quotas, self._reader)

    def check(self) -> None:
        """Raise if the database or the store cannot be used."""
        with self._sessions.begin() as session:
            current_time(session)
        self._store.check()


class TenantJobs:
    """Operations of one tenant on its jobs and their results. Jobs of other tenants are unknown to it."""

    def __init__(
        self,
        tenant: str,
        settings: Settings,
        sessions: Sessions,
        store: ArtifactStore,
        relay: Relay,
        quotas: Quotas,
        reader: JobReader,
    ) -> None:
        self._tenant = tenant
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._relay = relay
        self._quotas = quotas
        self._reader = reader

    def begin(self, key: str | None, traceparent: str | None = None) -> Draft:
        """Start a submission. Raises `Problem` (`request-in-progress`) if another request holds its key."""
        job_id = new_job_id()
        if key is None:
            return Draft(self._tenant, job_id, None, traceparent=traceparent)
        held = HeldKey(self._sessions, self._tenant, key, job_id)
        return Draft(self._tenant, job_id, held, held.take(), traceparent)

    def admit(self, draft: Draft) -> int:
        """Check the quotas before the file arrives. Raises `Problem` (`too-many-jobs`, `storage-full`).

        Returns the bytes not counted again: a repeated request sends a file that is in the quota already.
        """
        if not self._quotas.limited:
            return 0
        if draft.bound is not None:
            job_id = draft.bound.job_id
            job = transact(self._sessions, lambda session: JobRepository(session).get(job_id, self._tenant))
            return 0 if job is None else job.checkpoint_bytes
        usage = transact(self._sessions, lambda session: ACCOUNTS.usage(session, self._tenant))
        self._quotas.refuse(usage)
        return 0

    def submit(self, draft: Draft, submission: Submission, room: ReservedRoom) -> JobView:
        """Queue the job, or return the one that its key has already created. On return, its row is committed.

        The job's bytes replace the reservation of its file. Raises `Problem` (`idempotency-key-reused`, `job-deleted`,
        `request-in-progress`, `unknown-checkpoint`, `dataset-lost`, `too-many-jobs`, `storage-full`,
        `too-many-deliveries`) and `DiskFull`.
        """
        request = fingerprint(submission)
        if draft.bound is not None:
            return self._first_answer(draft.bound, request)
        self._store.require_room(submission.result_bytes, self._settings.disk_reserve)
        view = transact(self._sessions, lambda session: self._add(session, draft, submission, request, room))
        self._relay.wake()
        return view

    def _first_answer(self, bound: BoundKey, request: str) -> JobView:
        if bound.fingerprint != request:
            raise key_reused()
        job = transact(self._sessions, lambda session: JobRepository(session).get(bound.job_id, self._tenant))
        if job is None:
            raise Problem(
                HTTPStatus.CONFLICT,
                "job-deleted",
                "The job of this Idempotency-Key was deleted; use a new key for a new job.",
            )
        return self._view(job)

    def _add(self, session: Session, draft: Draft, submission: Submission, request: str, room: ReservedRoom) -> JobView:
        repository = JobRepository(session)
        committed = repository.get(draft.job_id, self._tenant)
        if committed is not None:
            return self._view(committed)
        room.settle(session)
        if self._quotas.limited:
            lock_tenant(session, self._tenant)
            more = submission.file.size + submission.result_bytes + BYTES_OF_A_JOB
            self._quotas.refuse(ACCOUNTS.usage(session, self._tenant), more)
            if submission.webhook is not None:
                refuse_deliveries(DeliveryRepository(session).pending_of(self._tenant, MOST_DELIVERIES))
        if draft.held is not None:
            draft.held.bind(session, request, self._settings.keep_idempotency_keys)
        self._renew(session, submission)
        options = submission.options
        new = NewJob(
            id=draft.job_id,
            tenant=self._tenant,
            kind=submission.kind,
            device=Device.CPU if options is None else options.device.value,
            options={} if options is None else options.model_dump(mode="json"),
            checkpoint_sha256=submission.file.sha256,
            checkpoint_bytes=submission.file.size,
            expected_bytes=submission.result_bytes,
            dataset_sha256=None if submission.dataset is None else submission.dataset.sha256,
            name=submission.name or submission.file_name,
            labels=submission.labels,
            webhook=submission.webhook,
            deadline=submission.deadline,
            traceparent=draft.traceparent,
        )
        return self._view(repository.add(new))

    def _renew(self, session: Session, submission: Submission) -> None:
        used = [submission.file, *filter(None, [submission.dataset])]
        lock_files(session, [file.sha256 for file in used], shared=True)
        try:
            self._store.renew(submission.file.sha256)
        except ArtifactMissing as error:
            raise unknown_checkpoint() from error
        if submission.dataset is not None:
            try:
                self._store.renew(submission.dataset.sha256)
            except ArtifactMissing as error:
                raise dataset_lost() from error

    def get(self, job_id: str) -> JobView:
        """Find a job. Raises `Problem` (`unknown-job`)."""
        return self._view(transact(self._sessions, lambda session: self._existing(JobRepository(session), job_id)))

    async def look(self, job_id: str) -> JobView:
        """Find a job; concurrent calls share one query. Raises `Problem` (`unknown-job`)."""
        view = await self._reader.find(job_id, self._tenant)
        if view is None:
            raise unknown_job(job_id)
        return view

    def page(
        self,
        *,
        status: Collection[JobStatus] = (),
        kind: JobKind | None = None,
        labels: Sequence[Label] = (),
        cursor: str | None,
        newer_than: str | None = None,
        limit: int,
    ) -> JobPage:
        """List jobs that have one of the statuses and all of the labels, newest first.

        `cursor` is the id of the last job of the previous page, `newer_than` that of the first job of the next page.
        With `newer_than`, a page of fewer jobs than the limit is the first one, and its `next_cursor` is None.
        """
        jobs = transact(
            self._sessions,
            lambda session: JobRepository(session).page(
                self._tenant,
                status=status,
                kind=kind,
                labels=labels,
                before=cursor,
                newer_than=newer_than,
                limit=limit + 1,
            ),
        )
        items = [self._view(job) for job in (jobs[:limit] if newer_than is None else jobs[-limit:])]
        return JobPage(items=items, next_cursor=items[-1].id if len(jobs) > limit else None)

    def cancel(self, job_id: str) -> JobView:
        """Cancel a job; a repeated call is a no-op. Raises `Problem` (`unknown-job`, `job-ended`)."""

        def work(session: Session) -> tuple[bool, Job]:
            repository = JobRepository(session)
            hit = repository.request_cancel(job_id, self._tenant)
            return hit, self._existing(repository, job_id)

        hit, job = transact(self._sessions, work)
        view = self._view(job)
        if not hit and view.status != JobStatus.CANCELED:
            raise Problem(
                HTTPStatus.CONFLICT, "job-ended", f"The job has already {view.status} and can no longer be canceled."
            )
        return view

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its files. Raises `Problem` (`unknown-job`, `job-not-ended`)."""
        view = self.get(job_id)
        if not view.ended:
            raise Problem(
                HTTPStatus.CONFLICT,
                "job-not-ended",
                f"The job is {view.status}: cancel it with POST {view.links.cancel}, and delete it when it has ended.",
            )

        # The job has ended or is deleted, so a retry after a lost commit is safe.
        def work(session: Session) -> list[str]:
            files = JobRepository(session).delete(job_id, self._tenant)
            DiscardRepository(session, ACCOUNTS).add(self._tenant, files)
            return sorted(files)

        Discards(self._sessions, self._store, ACCOUNTS).remove(transact(self._sessions, work))

    def artifact(self, job_id: str, name: str, needs: Sequence[str] = ()) -> StoredArtifact:
        """Find a result that only jobs with all options in `needs` have.

        Raises `Problem` (`unknown-job`, `not-asked-for`, `no-results`, `no-such-result`).
        """
        job = transact(self._sessions, lambda session: self._existing(JobRepository(session), job_id))
        return result_of(job, name, needs)

    def _existing(self, repository: JobRepository, job_id: str) -> Job:
        job = repository.get(job_id, self._tenant)
        if job is None:
            raise unknown_job(job_id)
        return job

    def _view(self, job: Job) -> JobView:
        return JobView.of(job, self._settings.keep_results)
