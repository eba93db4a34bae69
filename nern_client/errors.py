"""Exceptions: one for each family of answers, and those without an answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nern_client.models import Job


class NernClientError(Exception):
    """Base of all errors of this package. The text is a sentence for people."""

    # `temporary`: a retry may succeed. `retry_after`: seconds that the server wants the client to wait.
    temporary = False
    retry_after: float | None = None


class ServerUnreachable(NernClientError):
    """There was no answer, or it was cut off. `proxy` names the proxy that was used."""

    temporary = True

    def __init__(self, message: str, *, proxy: str | None = None) -> None:
        super().__init__(message)
        self.proxy = proxy


class UnexpectedAnswer(NernClientError):
    """The server is not a NeRN service, or has an incompatible version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldProblem:
    """The problem with one field of the input."""

    field: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The body of an error (RFC 9457). `type` is a stable slug, `detail` says what to do.

    With `request_id` the operator finds the request in the log.
    """

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldProblem, ...] = ()
    request_id: str | None = None


class ApiError(NernClientError):
    """The server refused a request."""

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
        """The HTTP status of the answer."""
        return self.problem.status

    @property
    def request_id(self) -> str | None:
        """The id of the request in the operator's log."""
        return self.problem.request_id


class InvalidRequest(ApiError):
    """The input is not acceptable: its options, its checkpoint or its size."""


class NotAuthorized(ApiError):
    """The API key is missing, wrong, or does not allow this."""


class NotFound(ApiError):
    """The job, result, checkpoint or data set does not exist, or no longer exists."""


class Conflict(ApiError):
    """The state of the job, the upload or the name does not allow this."""


class TooManyRequests(ApiError):
    """A limit of the key or the tenant is reached."""


class ServerError(ApiError):
    """The server has failed."""


class JobNotSucceeded(NernClientError):
    """The job has ended without results. `job` is its final state."""

    def __init__(self, job: "Job") -> None:
        super().__init__(job.message)
        self.job = job


class JobFailed(JobNotSucceeded):
    """The job has failed; `job.error` has a code for programs and a message for people."""


class JobCanceled(JobNotSucceeded):
    """The job was canceled."""


class WaitTimeout(NernClientError):
    """The job did not end in time and continues. `job` is its last known state."""

    def __init__(self, job: "Job") -> None:
        super().__init__(f"The job {job.id} is still {job.status}; it continues.")
        self.job = job


class NoSuchArtifact(NernClientError):
    """The job has no result of this name."""


class DigestMismatch(NernClientError):
    """The download does not have the checksum of the job's result; nothing was kept."""


class FileChanged(NernClientError):
    """A file changed while it was sent."""


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
    """Return the exception for answers with this status."""
    return _FAMILIES.get(status, ServerError if status >= 500 else InvalidRequest)
