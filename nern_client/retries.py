"""Which requests are sent again, when, and how often."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from nern_client.effects import Answer, ConnectionLost, Operation, Pause, Request
from nern_client.errors import (
    ApiError,
    FieldProblem,
    NernClientError,
    NotFound,
    Problem,
    ServerUnreachable,
    family_of,
)

_TEMPORARY = frozenset({408, 502, 503, 504})
# With `Retry-After`: without one the limit is of a kind that time alone does not lift.
_LIMITED = 429
# Somebody else, perhaps an earlier attempt of this very request, is still at it.
_BUSY = frozenset({"request-in-progress", "upload-locked"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How patient a client is.

    A server that has never answered is given up after `first_attempts`: it is probably not there. Pauses grow from
    `first_pause` to `longest_pause` seconds, each shortened by chance so that clients do not come back together;
    what the server asks for (`Retry-After`) comes first, up to `longest_wait`.
    """

    attempts: int = 10
    first_attempts: int = 3
    first_pause: float = 0.5
    longest_pause: float = 30.0
    longest_wait: float = 120.0

    def pause(self, failures: int, told: float | None) -> float:
        """Seconds until the next attempt after so many failures in a row."""
        longest = min(self.longest_pause, self.first_pause * 2.0 ** (failures - 1))
        chosen = longest * random.uniform(0.5, 1)  # noqa: S311 # no secret
        return chosen if told is None else max(told, chosen)


@dataclass(slots=True)
class Session:
    """What the operations of one client share: its patience, where it asks, and whether anybody ever answered."""

    url: str
    retries: Retries
    reached: bool = False


class Attempts:
    """Counts the failures in a row of one thing that is tried again and again."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._failures = 0

    def went_on(self) -> None:
        """Something was achieved."""
        self._failures = 0

    def after(self, error: NernClientError) -> Pause:
        """The pause before the next attempt. Raises `error` if there is none."""
        retries = self._session.retries
        self._failures += 1
        most = retries.attempts if self._session.reached else retries.first_attempts
        if self._failures >= most or (error.retry_after or 0) > retries.longest_wait:
            raise error
        return Pause(retries.pause(self._failures, error.retry_after))


def send(session: Session, request: Request) -> Operation[Answer]:
    """Send a request, again if need be. Raises `ApiError` and `ServerUnreachable`."""
    attempts = Attempts(session)
    while True:
        try:
            answer = yield from send_once(session, request)
        except ServerUnreachable as error:
            if not (request.repeatable or _never_left(error)):
                raise
            yield attempts.after(error)
        except ApiError as error:
            if not (request.repeatable and error.temporary):
                raise
            yield attempts.after(error)
        else:
            return answer


def delete_once(session: Session, path: str) -> Operation[None]:
    """Delete something. What is gone when the request is sent again was deleted by it."""
    request = Request(method="DELETE", path=path, repeatable=True)
    attempts = Attempts(session)
    perhaps_done = False
    while True:
        try:
            yield from send_once(session, request)
        except NotFound:
            if not perhaps_done:
                raise
        except NernClientError as error:
            if not error.temporary:
                raise
            perhaps_done = True
            yield attempts.after(error)
            continue
        return


def send_once(session: Session, request: Request) -> Operation[Answer]:
    """Send a request a single time. Raises `ApiError` and `ServerUnreachable`."""
    answer = yield from exchange(session, request)
    if not answer.succeeded:
        raise error_of(answer)
    return answer


def exchange(session: Session, request: Request) -> Operation[Answer]:
    """Send a request a single time, whatever is answered. Raises `ServerUnreachable`."""
    try:
        answer: Answer = yield request
    except ConnectionLost as lost:
        asked = "/".join(request.path.split("/")[:3]) if request.elsewhere else session.url
        way = "" if lost.proxy is None else f" through {lost.proxy}"
        raise ServerUnreachable(f"{asked} does not answer{way}: {lost}.", proxy=lost.proxy) from lost
    session.reached = True
    return answer


def _never_left(error: ServerUnreachable) -> bool:
    return isinstance(error.__cause__, ConnectionLost) and not error.__cause__.sent


def error_of(answer: Answer) -> ApiError:
    """The error that an answer tells of, be it of the service or of a proxy before it."""
    problem = _problem_of(answer)
    told = seconds_told(answer.headers)
    limited_for_now = answer.status == _LIMITED and told is not None
    temporary = answer.status in _TEMPORARY or limited_for_now or problem.type in _BUSY
    return family_of(answer.status)(problem, temporary=temporary, retry_after=told)


def seconds_told(headers: Mapping[str, str]) -> float | None:
    """What `Retry-After` says, in seconds or as a date."""
    told = headers.get("retry-after", "").strip()
    if told.isdecimal():
        return float(told)
    try:
        return max(0.0, (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _problem_of(answer: Answer) -> Problem:
    try:
        told = answer.json()
        return Problem(
            type=told["type"],
            title=told["title"],
            status=answer.status,
            detail=told["detail"],
            errors=tuple(FieldProblem(field=e["field"], detail=e["detail"]) for e in told.get("errors") or ()),
            request_id=told.get("request_id"),
        )
    except (ValueError, KeyError, TypeError):
        return Problem(
            type="no-problem-document",
            title=_phrase(answer.status),
            status=answer.status,
            detail=_what_little_is_told(answer),
            request_id=answer.headers.get("x-request-id"),
        )


def _what_little_is_told(answer: Answer) -> str:
    if 300 <= answer.status < 400 and "location" in answer.headers:
        return f"The server is elsewhere: it redirects to {answer.headers['location']}; give the address there."
    told = f"has answered {answer.status} ({_phrase(answer.status)}) and says no more."
    if answer.proxy is not None:
        return f"The server, or {answer.proxy} before it, {told} Name the host in NO_PROXY to ask it directly."
    return f"The server {told}"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"
