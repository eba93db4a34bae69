"""Errors on the pages: browsers get an error page, or the sign-in form if the key is missing."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import RedirectResponse, Response

from app.http.accept import prefers_html
from app.kit.origins import SAFE_METHODS
from app.kit.problems import Problem
from app.pages.rendering import render


class PageRoute(APIRoute):
    """Route that shows problems as pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, which renders problems as pages."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except Problem as problem:
                return problem_page(request, problem)
            except RequestValidationError:
                return problem_page(request, Problem(HTTPStatus.NOT_FOUND, "not-found", "There is no such page."))

        return handle


def problem_answer(request: Request, problem: Problem) -> Response:
    """Answer with a problem of the API: a page for navigation in a browser, a document for programs."""
    if request.method not in SAFE_METHODS:
        return problem.response()
    if prefers_html(request.headers.get("accept", "")):
        return problem_page(request, problem)
    document = problem.response()
    document.headers["Vary"] = "Accept"
    return document


def problem_page(request: Request, problem: Problem) -> Response:
    """Return the page of a problem, or a redirect to the sign-in form if the key is missing or invalid.

    A script that renews a part of a page gets the document.
    """
    status = HTTPStatus(problem.details.status)
    if status is HTTPStatus.UNAUTHORIZED:
        return _sign_in_first(request)
    if "hx-request" in request.headers:
        # The script that renews a part of a page shows the sentence on that page.
        return problem.response()
    page = render(request, "problem.html", {"heading": status.phrase, "detail": problem.details.detail}, status)
    page.headers.update((problem.headers or {}) | {"Vary": "Accept, HX-Request"})
    return page


def _sign_in_first(request: Request) -> Response:
    """Redirect to the sign-in form, which leads back to this address."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    address = "/sign-in" if wanted == "/" else f"/sign-in?{urlencode({'next': wanted})}"
    if "hx-request" in request.headers:
        # htmx would put the form into the part of the page that it updates.
        return Response(headers={"HX-Redirect": address, "Vary": "Accept"})
    return RedirectResponse(address, HTTPStatus.SEE_OTHER, headers={"Vary": "Accept"})
