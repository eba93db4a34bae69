"""Refuses requests beyond the connection limit with 503, except probes."""

from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.connections import CONNECTIONS, Connections
from app.kit.problems import Problem

_PROBES = frozenset({"/livez", "/readyz"})


class Overload:
    """Answers requests on reserved connections with 503, unless they are probes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        connections: Connections | None = scope.get("state", {}).get(CONNECTIONS)
        is_crowded = connections is not None and connections.crowded
        if scope["type"] == "http" and is_crowded and scope["path"] not in _PROBES:
            await _TOO_MANY.response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)


_TOO_MANY = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "too-many-connections",
    "The service has reached its limit of connections; try again soon.",
    headers={"Retry-After": "5", "Connection": "close"},
)
