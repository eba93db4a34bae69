"""The API key of a person in a browser: a cookie that no script can read, and that no other site's pages send.

It holds the key itself, so that there are no sessions to store, and revoking the key ends everything.
"""

from http import HTTPStatus
from typing import Final

from fastapi import Request
from starlette.responses import Response

from app.edge.local_only import SAFE_METHODS, is_foreign
from app.problems import Problem

COOKIE: Final = "nern-key"


def key_of_browser(request: Request) -> str | None:
    """The key in the cookie. Raises `Problem` (`foreign-origin`) where the page of another origin changes something."""
    key = request.cookies.get(COOKIE)
    if key is not None and request.method not in SAFE_METHODS:
        refuse_foreign(
            request,
            "Pages of other origins may not use the key that this browser is signed in with; send a key of their own.",
        )
    return key


def refuse_foreign(request: Request, detail: str) -> None:
    """Raise `Problem` (`foreign-origin`) for a request that the page of another origin sends."""
    if is_foreign(request.headers):
        raise Problem(HTTPStatus.FORBIDDEN, "foreign-origin", detail)


def sign_in(response: Response, request: Request, key: str) -> None:
    """Have the browser send the key until it is closed."""
    # The browser's own word counts too, where a proxy that ends TLS is not among the trusted ones.
    secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
    response.set_cookie(COOKIE, key, httponly=True, secure=secure, samesite="strict")


def sign_out(response: Response) -> None:
    """Have the browser forget the key."""
    response.delete_cookie(COOKIE)
