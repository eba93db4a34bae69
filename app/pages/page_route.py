"""What becomes of errors on the pages: people get a page, and those without a key are asked for one."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import RedirectResponse, Response

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
                if problem.details.status == HTTPStatus.UNAUTHORIZED:
                    return RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
                return _page_of(request, HTTPStatus(problem.details.status), problem.details.detail)
            except RequestValidationError:
                return _page_of(request, HTTPStatus.NOT_FOUND, "There is no such page.")

        return handle


def _page_of(request: Request, status: HTTPStatus, detail: str) -> Response:
    return render(request, "problem.html", {"heading": status.phrase, "detail": detail}, status)
