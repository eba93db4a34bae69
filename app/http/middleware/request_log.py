"""Id and log line of each request."""

import re
from http import HTTPStatus
from time import perf_counter
from typing import Any

import structlog
import uuid_utils
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access.caller import Caller
from app.kit.problems import Problem

_HEADER = "X-Request-ID"
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")
_LONGEST_PATH = 200
_log = structlog.get_logger()


class RequestLog:
    """Assigns each request an id, which is in its response and all of its log lines, and logs its end.

    The client may choose the id, in the header `X-Request-ID`. Unhandled exceptions end here: they are logged and
    answered with 500.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get(_HEADER, ""))
        start, status = perf_counter(), None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[_HEADER] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except (Problem, ClientDisconnect) as error:
                # Caused by the client: its body is missing or too slow, or it has disconnected.
                problem = error if isinstance(error, Problem) else _CUT_OFF
                if status is None:
                    await problem.response()(scope, receive, send_with_id)
                else:
                    _log.warning("answer_cut_off", reason=problem.details.type, **_about(scope))
            except Exception as error:
                _log.exception("request_failed", error=repr(error), **_about(scope))
                if status is not None:
                    raise
                await _INTERNAL_ERROR.response()(scope, receive, send_with_id)
            finally:
                milliseconds = round(1000 * (perf_counter() - start), 1)
                _log.info("request", status=status, milliseconds=milliseconds, **_about(scope))


_CUT_OFF = Problem(HTTPStatus.BAD_REQUEST, "request-cut-off", "The request was cut off; send it again.")
_INTERNAL_ERROR = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "internal-error",
    "An internal error occurred; try again, and give the operator the request id if it happens again.",
)


def _request_id(given: str) -> str:
    return given if _GIVEN_ID.fullmatch(given) else f"req_{uuid_utils.uuid7().hex}"


def _about(scope: Scope) -> dict[str, Any]:
    """Return a request's log fields: never its query or headers, which may hold secrets."""
    route, caller = scope.get("route"), scope.get("state", {}).get("caller")
    about = {"method": scope["method"], "route": scope["path"][:_LONGEST_PATH] if route is None else route.path}
    if isinstance(caller, Caller):
        about |= {"tenant": caller.tenant, "key": caller.key_id}
    return about
