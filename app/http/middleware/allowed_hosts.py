"""Host names that the service accepts.

This prevents DNS rebinding: an attacker's host name that resolves to 127.0.0.1 would let the attacker's pages use a
local service. The browser sends that name, so the request is refused here.
"""

from collections.abc import Sequence
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.kit.problems import Problem

ANY_HOST = "*"


class AllowedHosts:
    """Refuses requests for other host names than `hosts` with 421; `*` allows any."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or ANY_HOST in self._hosts or _name(Headers(scope=scope)) in self._hosts:
            await self._app(scope, receive, send)
            return
        problem = Problem(
            HTTPStatus.MISDIRECTED_REQUEST,
            "unknown-host",
            "The service does not answer to this host name; use another one, or add it to NERN_ALLOWED_HOSTS.",
        )
        await problem.response()(scope, receive, send)


def _name(headers: Headers) -> str:
    """Return the host without its port; brackets of an IPv6 address stay."""
    host = headers.get("host", "").lower()
    name, separator, port = host.rpartition(":")
    return name if separator and port.isdigit() and (name.endswith("]") or ":" not in name) else host
