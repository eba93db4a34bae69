"""A service without keys serves only this machine, and no pages of other origins in its browsers.

The API does not know the address that its server listens on, but it knows both addresses of every connection. Both must
be loopback. A form on any page can post to any address, so requests that change something must not come from pages of
other origins either.
"""

from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.kit.origins import SAFE_METHODS, is_foreign
from app.kit.problems import Problem


class LocalOnly:
    """Refuses requests from other machines and from the pages of other origins, with 403."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        problem = _refusal(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await problem.response()(scope, receive, send)


def is_loopback(address: str) -> bool:
    """Return whether an address literal is loopback; False for other text."""
    try:
        literal = ip_address(address)
    except ValueError:
        return False
    if isinstance(literal, IPv6Address) and literal.ipv4_mapped is not None:
        literal = literal.ipv4_mapped
    return literal.is_loopback


def _refusal(scope: Scope) -> Problem | None:
    if not (_is_local(scope.get("server")) and _is_local(scope.get("client"))):
        return Problem(
            HTTPStatus.FORBIDDEN,
            "this-machine-only",
            "Without API keys this service serves its own machine only; the operator can set NERN_AUTHENTICATION=keys "
            "and create a key with `nern keys create`.",
        )
    if scope["method"] not in SAFE_METHODS and is_foreign(Headers(scope=scope)):
        return Problem(
            HTTPStatus.FORBIDDEN,
            "foreign-origin",
            "Pages of other origins may not use a service without API keys; send the request from the command line.",
        )
    return None


def _is_local(end: tuple[str, Any] | None) -> bool:
    return end is not None and is_loopback(end[0])
