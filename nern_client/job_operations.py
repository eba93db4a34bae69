"""Operations on jobs."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

from nern_client.addresses import address_of
from nern_client.answers import read
from nern_client.effects import Answer, Operation, Pause, Request
from nern_client.errors import JobCanceled, JobFailed, WaitTimeout
from nern_client.models import EventPage, Job, JobPage, JobStatus
from nern_client.retries import Session, delete_once, parse_retry_after, send

OnUpdate = Callable[[Job], object]
_JOBS = "/jobs"
_SECONDS_BETWEEN_POLLS = 2.0
_JOBS_ON_A_PAGE = "100"
_EVENTS_ON_A_PAGE = "1000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Filter of jobs; all its conditions must hold."""

    statuses: tuple[JobStatus, ...] = ()
    kind: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, status: JobStatus | str | Collection[JobStatus | str], kind: str | None, labels: Mapping[str, str]
    ) -> Self:
        """Create a filter from one status or several; an empty collection means any.

        Raises `ValueError` for an unknown status.
        """
        statuses = [status] if isinstance(status, str) else status
        return cls(statuses=tuple(map(JobStatus, statuses)), kind=kind, labels=labels)


def get(session: Session, job_id: str) -> Operation[Job]:
    """Return a job."""
    return read(session, (yield from _look(session, job_id)), Job)


def page(session: Session, wanted: Wanted, cursor: str | None) -> Operation[JobPage]:
    """Return one page of the wanted jobs, newest first."""
    query: dict[str, str | list[str]] = {"limit": _JOBS_ON_A_PAGE}
    if wanted.labels:
        query["label"] = [f"{key}={value}" for key, value in wanted.labels.items()]
    if wanted.statuses:
        query["status"] = [status.value for status in wanted.statuses]
    if wanted.kind is not None:
        query["kind"] = wanted.kind
    if cursor is not None:
        query["cursor"] = cursor
    answer = yield from send(session, Request(method="GET", path=_JOBS, query=query, repeatable=True))
    return read(session, answer, JobPage)


def cancel(session: Session, job_id: str) -> Operation[Job]:
    """Cancel a job; a repeated call is a no-op."""
    request = Request(method="POST", path=f"{address_of(_JOBS, job_id)}/cancel", repeatable=True)
    return read(session, (yield from send(session, request)), Job)


def delete(session: Session, job_id: str) -> Operation[None]:
    """Delete a job that has ended."""
    return delete_once(session, address_of(_JOBS, job_id))


def wait(session: Session, job_id: str, on_update: OnUpdate | None, timeout: float | None) -> Operation[Job]:
    """Poll a job, as often as the server allows, until it has succeeded.

    Raises `JobFailed`, `JobCanceled` and `WaitTimeout`.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    last = None
    while True:
        answer = yield from _look(session, job_id)
        job = read(session, answer, Job)
        if on_update is not None and job != last:
            on_update(job)
        last = job
        if job.ended:
            return _results_of(job)
        pause = parse_retry_after(answer.headers) or _SECONDS_BETWEEN_POLLS
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise WaitTimeout(job)
            pause = min(pause, left)
        yield Pause(pause)


def events_after(session: Session, job_id: str, after: int, *, follow: bool) -> Operation[EventPage]:
    """Return a page of events with numbers above `after`. The last page has no `next_after`.

    With `follow`, wait for events unless the job has ended.
    """
    query: Mapping[str, str | list[str]] = {"after": str(after), "limit": _EVENTS_ON_A_PAGE}
    request = Request(method="GET", path=f"{address_of(_JOBS, job_id)}/events", query=query, repeatable=True)
    while True:
        # Checked before the events are read: once the job has ended, all its events exist.
        ended = not follow or (yield from get(session, job_id)).ended
        page = read(session, (yield from send(session, request)), EventPage)
        if ended or page.next_after is not None:
            return page
        if page.items:
            return page.model_copy(update={"next_after": page.items[-1].number})
        yield Pause(_SECONDS_BETWEEN_POLLS)


def _results_of(job: Job) -> Job:
    if job.status is JobStatus.FAILED:
        raise JobFailed(job)
    if job.status is JobStatus.CANCELED:
        raise JobCanceled(job)
    return job


def _look(session: Session, job_id: str) -> Operation[Answer]:
    return send(session, Request(method="GET", path=address_of(_JOBS, job_id), repeatable=True))
