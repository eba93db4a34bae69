"""Errors on the pages: people get a page, and those without a key are asked for one."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import RedirectResponse, Response

from app.accept import prefers_html
from app.edge.local_only import SAFE_METHODS
from app.pages.rendering import render
from app.problems import Problem


class PageRoute(APIRoute):
    """A route whose problems are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with its problems shown."""
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
    """Present a problem of the API: as a page to a browser that shows the answer, as a document to programs."""
    if request.method not in SAFE_METHODS:
        return problem.response()
    if prefers_html(request.headers.get("accept", "")):
        return problem_page(request, problem)
    document = problem.response()
    document.headers["Vary"] = "Accept"
    return document


def problem_page(request: Request, problem: Problem) -> Response:
    """The page of a problem, or the form for a key where one is missing."""
    status = HTTPStatus(problem.details.status)
    if status is HTTPStatus.UNAUTHORIZED:
        return _sign_in_first(request)
    page = render(request, "problem.html", {"heading": status.phrase, "detail": problem.details.detail}, status)
    page.headers.update((problem.headers or {}) | {"Vary": "Accept"})
    return page


def _sign_in_first(request: Request) -> Response:
    """Lead to the form for a key, and from there back to this address."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    address = "/sign-in" if wanted == "/" else f"/sign-in?{urlencode({'next': wanted})}"
    if "hx-request" in request.headers:
        # A script that renews a part of a page would put the form there.
        return Response(headers={"HX-Redirect": address, "Vary": "Accept"})
    return RedirectResponse(address, HTTPStatus.SEE_OTHER, headers={"Vary": "Accept"})
