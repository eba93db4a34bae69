"""What can go wrong: one exception for each family of answers, and what no answer tells."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nern_client.models import Job


class NernClientError(Exception):
    """Base of all errors of this package. Its text is a sentence for people."""

    # Whether the same may go well a little later, and when the server wants to be asked again.
    temporary = False
    retry_after: float | None = None


class ServerUnreachable(NernClientError):
    """There was no answer, or it broke off. `proxy` names the proxy that was asked."""

    temporary = True

    def __init__(self, message: str, *, proxy: str | None = None) -> None:
        super().__init__(message)
        self.proxy = proxy


class UnexpectedAnswer(NernClientError):
    """What answers is no NeRN service, or one of another version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldProblem:
    """What is wrong with one field of the input."""

    field: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The body of an error (RFC 9457). `type` is a stable slug, `detail` says what to do.

    `request_id` is what the operator finds the request in the log by.
    """

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldProblem, ...] = ()
    request_id: str | None = None


class ApiError(NernClientError):
    """The server has refused a request."""

    def __init__(self, problem: Problem, *, temporary: bool = False, retry_after: float | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.temporary = temporary
        self.retry_after = retry_after

    @property
    def type(self) -> str:
        """The stable slug of the problem."""
        return self.problem.type

    @property
    def status(self) -> int:
        """The status of the answer."""
        return self.problem.status

    @property
    def request_id(self) -> str | None:
        """What the operator finds the request by."""
        return self.problem.request_id


class InvalidRequest(ApiError):
    """What was sent cannot be accepted: its options, its checkpoint, its size."""


class NotAuthorized(ApiError):
    """The API key is missing, wrong, or not good for this."""


class NotFound(ApiError):
    """There is no such job, result, checkpoint or data set, or there is none any more."""


class Conflict(ApiError):
    """The job, the upload or a name is in a state that does not allow this."""


class TooManyRequests(ApiError):
    """A limit of the key or the tenant is used up."""


class ServerError(ApiError):
    """The server has failed."""


class JobNotSucceeded(NernClientError):
    """A job that was waited for has ended without results. `job` is what became of it."""

    def __init__(self, job: "Job") -> None:
        super().__init__(job.message)
        self.job = job


class JobFailed(JobNotSucceeded):
    """The job has failed; `job.error` has a code for programs and a sentence."""


class JobCanceled(JobNotSucceeded):
    """The job was canceled."""


class WaitTimeout(NernClientError):
    """The job has not ended in time, and goes on. `job` is the last that was heard of it."""

    def __init__(self, job: "Job") -> None:
        super().__init__(f"The job {job.id} is still {job.status}; it goes on.")
        self.job = job


class NoSuchArtifact(NernClientError):
    """The job has no result of this name."""


class DigestMismatch(NernClientError):
    """What was downloaded is not what the job has published; nothing was kept."""


class FileChanged(NernClientError):
    """A file has changed while it was sent."""


_FAMILIES: Mapping[int, type[ApiError]] = {
    401: NotAuthorized,
    403: NotAuthorized,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    412: Conflict,
    423: Conflict,
    429: TooManyRequests,
}


def family_of(status: int) -> type[ApiError]:
    """The exception for answers of this status."""
    return _FAMILIES.get(status, ServerError if status >= 500 else InvalidRequest)
