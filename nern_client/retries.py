"""Retries: which requests, after which pause, and how often."""

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
    UnexpectedAnswer,
    family_of,
)

_TEMPORARY = frozenset({408, 502, 503, 504})
# Retried only with `Retry-After`: without it, waiting does not lift the limit.
_LIMITED = 429
_PROBLEM = "application/problem+json"
_BYPASS = "Add the host to NO_PROXY to bypass the proxy."
# Another request, perhaps an earlier attempt of this one, is still being handled.
_BUSY = frozenset({"request-in-progress", "upload-locked"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """The retry policy of a client.

    The client gives up after `attempts` failures in a row, or after `first_attempts` if the server has never answered,
    because it is probably not there. Pauses grow from `first_pause` to `longest_pause` seconds. Each is shortened at
    random so that clients do not all return together. A pause is never shorter than `Retry-After`; the client gives
    up at once if the server asks for more than `longest_wait` seconds.
    """

    attempts: int = 10
    first_attempts: int = 3
    first_pause: float = 0.5
    longest_pause: float = 30.0
    longest_wait: float = 120.0

    def pause(self, failures: int, retry_after: float | None) -> float:
        """Return the seconds to wait after `failures` failures in a row, at least `retry_after`."""
        longest = min(self.longest_pause, self.first_pause * 2.0 ** (failures - 1))
        chosen = longest * random.uniform(0.5, 1)  # noqa: S311 # not a secret
        return chosen if retry_after is None else max(retry_after, chosen)


@dataclass(slots=True)
class Session:
    """State that the operations of one client share: URL, retry policy, and whether the server has ever answered."""

    url: str
    retries: Retries
    reached: bool = False


class Attempts:
    """Counts the failures in a row of one retried action."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._failures = 0

    def went_on(self) -> None:
        """Reset the count because there was progress."""
        self._failures = 0

    def after(self, error: NernClientError) -> Pause:
        """Count a failure and return the pause before the next attempt. Raises `error` if there is no next attempt."""
        retries = self._session.retries
        self._failures += 1
        most = retries.attempts if self._session.reached else retries.first_attempts
        if self._failures >= most or (error.retry_after or 0) > retries.longest_wait:
            raise error
        return Pause(retries.pause(self._failures, error.retry_after))


def send(session: Session, request: Request) -> Operation[Answer]:
    """Send a request, with retries. Raises `ApiError`, `ServerUnreachable` and `UnexpectedAnswer`."""
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
    """Delete a resource, with retries. Not found after a retry counts as deleted."""
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
    """Send a request without retries. Raises `ApiError`, `ServerUnreachable` and `UnexpectedAnswer`."""
    answer = yield from exchange(session, request)
    if not answer.succeeded:
        raise error_of(answer, session.url)
    return answer


def exchange(session: Session, request: Request) -> Operation[Answer]:
    """Send a request without retries and return any answer. Raises `ServerUnreachable`."""
    try:
        answer: Answer = yield request
    except ConnectionLost as lost:
        address = "/".join(request.path.split("/")[:3]) if request.elsewhere else session.url
        way = "" if lost.proxy is None else f" through {lost.proxy}"
        raise ServerUnreachable(f"{address} does not answer{way}: {lost}.", proxy=lost.proxy) from lost
    session.reached = True
    return answer


def _never_left(error: ServerUnreachable) -> bool:
    return isinstance(error.__cause__, ConnectionLost) and not error.__cause__.sent


def error_of(answer: Answer, url: str, *, elsewhere: bool = False) -> ApiError | UnexpectedAnswer:
    """Return the error for an answer of the service at `url`, of a proxy before it or, `elsewhere`, of another host.

    The service answers with problem documents (RFC 9457). A proxy has its own pages for what it can say of the service:
    that it is down, busy or out of reach.
    """
    problem = _problem_of(answer)
    if problem is None and not (elsewhere or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or _is_pause(answer)):
        return UnexpectedAnswer(_what_is_no_service(answer, url))
    problem = problem or _undocumented(answer)
    retry_after = parse_retry_after(answer.headers)
    limited_for_now = answer.status == _LIMITED and retry_after is not None
    temporary = answer.status in _TEMPORARY or limited_for_now or problem.type in _BUSY
    return family_of(answer.status)(problem, temporary=temporary, retry_after=retry_after)


def _is_pause(answer: Answer) -> bool:
    return answer.status in {*_TEMPORARY, _LIMITED}


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return `Retry-After` in seconds, given in seconds or as a date; None if it is missing or invalid."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _problem_of(answer: Answer) -> Problem | None:
    """Return the problem document in an answer; None without one. An answer to HEAD has the header alone."""
    if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != _PROBLEM:
        return None
    if not answer.body:
        return _undocumented(answer)
    try:
        document = answer.json()
        return Problem(
            type=document["type"],
            title=document["title"],
            status=answer.status,
            detail=document["detail"],
            errors=tuple(FieldProblem(field=e["field"], detail=e["detail"]) for e in document.get("errors") or ()),
            request_id=document.get("request_id"),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _undocumented(answer: Answer) -> Problem:
    sentence = f"answered {answer.status} ({_phrase(answer.status)}) without details."
    return Problem(
        type="no-problem-document",
        title=_phrase(answer.status),
        status=answer.status,
        detail=f"The server {sentence}"
        if answer.proxy is None
        else f"{_server_or_proxy(answer.proxy)} {sentence} {_BYPASS}",
        request_id=answer.headers.get("x-request-id"),
    )


def _what_is_no_service(answer: Answer, url: str) -> str:
    if 300 <= answer.status < 400 and "location" in answer.headers:
        return f"The server redirects to {answer.headers['location']}; use that address."
    sentence = f"answered {answer.status} ({_phrase(answer.status)}), but not as a NeRN service does."
    if answer.proxy is not None:
        return f"{_server_or_proxy(answer.proxy)} {sentence} {_BYPASS}"
    return f"The server at {url} {sentence} Check the address."


def _server_or_proxy(proxy: str) -> str:
    return f"The server, or {proxy} before it,"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"
