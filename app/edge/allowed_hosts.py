"""The names that the service answers to.

A name that an attacker lets point to 127.0.0.1 makes a browser take a local service for the attacker's
own: it sends that name, and is refused here.
"""

from collections.abc import Sequence
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.problems import Problem

ANY_HOST = "*"


class AllowedHosts:
    """Refuses requests for other names than `hosts` with 421; `*` allows every one."""

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
    """The host without its port; brackets of an IPv6 address stay."""
    host = headers.get("host", "").lower()
    name, separator, port = host.rpartition(":")
    return name if separator and port.isdigit() and (name.endswith("]") or ":" not in name) else host
