"""API key of a person in a browser: a cookie that scripts cannot read and that other sites' pages do not send.

It holds the key itself, so there are no sessions to store, and revoking the key ends all access.
"""

from http import HTTPStatus
from typing import Final

from fastapi import Request
from starlette.responses import Response

from app.kit.origins import SAFE_METHODS, is_foreign
from app.kit.problems import Problem

COOKIE: Final = "nern-key"


def key_of_browser(request: Request) -> str | None:
    """Return the key in the cookie. Raises `Problem` (`foreign-origin`) if a foreign page sends a changing request."""
    key = request.cookies.get(COOKIE)
    if key is not None and request.method not in SAFE_METHODS:
        refuse_foreign(
            request,
            "Pages of other origins may not use the key of this browser; send a separate key.",
        )
    return key


def refuse_foreign(request: Request, detail: str) -> None:
    """Raise `Problem` (`foreign-origin`) for a request from a page of another origin."""
    if is_foreign(request.headers):
        raise Problem(HTTPStatus.FORBIDDEN, "foreign-origin", detail)


def sign_in(response: Response, request: Request, key: str) -> None:
    """Set the cookie with the key, until the browser is closed."""
    # `Origin` counts too, because a proxy that ends TLS may not be among the trusted ones.
    secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
    response.set_cookie(COOKIE, key, httponly=True, secure=secure, samesite="strict")


def sign_out(response: Response) -> None:
    """Delete the cookie."""
    response.delete_cookie(COOKIE)
