"""Answers with problems: to every error of the application, and in its OpenAPI document."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path

from app.db.transactions import DATABASE_LOST, is_full_database
from app.kit.durable_files import DiskFull
from app.kit.explanations import of_request
from app.kit.fair_shares import QueueFull
from app.kit.problems import MEDIA_TYPE, Problem, ProblemDetails
from app.storage.artifacts import StoreUnavailable

_log = structlog.get_logger()
_SCHEMA = "#/components/schemas/ProblemDetails"
_HINTS = {
    HTTPStatus.NOT_FOUND: "There is nothing at this address; /docs lists all of them.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does not take this method; /docs lists what it takes.",
}


def use_problem_details(app: FastAPI, answer: Callable[[Request, Problem], Response]) -> None:
    """Answer every error of `app` with `answer`, and document that in the schema."""
    generated = app.openapi
    app.openapi = lambda: _with_problems(generated())  # type: ignore[method-assign] # FastAPI's own way to change it
    app.add_exception_handler(DiskFull, _on_full_disk)
    app.add_exception_handler(StoreUnavailable, _on_lost_store)
    app.add_exception_handler(QueueFull, _on_full_queue)
    for lost in DATABASE_LOST:
        app.add_exception_handler(lost, _on_lost_database)

    @app.exception_handler(Problem)
    async def on_problem(request: Request, problem: Problem) -> Response:
        return answer(request, problem)

    @app.exception_handler(RequestValidationError)
    async def on_invalid_request(request: Request, error: RequestValidationError) -> Response:
        return answer(request, Problem.of_fields("invalid-request", [*map(of_request, error.errors())]))

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        slug = status.phrase.lower().replace(" ", "-")
        detail = _HINTS.get(status, error.detail)
        headers = dict(error.headers or {})
        if status is HTTPStatus.METHOD_NOT_ALLOWED and (allowed := _allowed_methods(request)):
            headers["Allow"] = ", ".join(allowed)
        return answer(request, Problem(status, slug, detail, headers=headers))


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    for methods in document["paths"].values():
        for operation in methods.values():
            # Every route refuses undeclared query parameters.
            operation["responses"].setdefault("422", {"description": HTTPStatus.UNPROCESSABLE_ENTITY.phrase})
            for status, answer in operation["responses"].items():
                if int(status) >= HTTPStatus.BAD_REQUEST:
                    answer["content"] = {MEDIA_TYPE: {"schema": {"$ref": _SCHEMA}}}
    return document


def disk_full() -> Problem:
    """Return the problem for a file that does not fit on the disk."""
    return Problem(
        HTTPStatus.INSUFFICIENT_STORAGE,
        "disk-full",
        "The disk has no room for this file; delete jobs that are no longer needed, or try again later.",
        headers={"Retry-After": "600", "Connection": "close"},
    )


def store_unavailable() -> Problem:
    """Return the problem for requests that need the artifact store while it does not answer."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "storage-unavailable",
        "The artifact store cannot be reached, so nothing was done; try again soon.",
        headers={"Retry-After": "5", "Connection": "close"},
    )


async def _on_full_disk(request: Request, error: Exception) -> JSONResponse:
    _log.error("disk_full", error=repr(error))
    return disk_full().response()


async def _on_lost_store(request: Request, error: Exception) -> JSONResponse:
    _log.error("storage_unavailable", method=request.method, path=request.url.path, error=repr(error))
    return store_unavailable().response()


async def _on_full_queue(request: Request, error: Exception) -> JSONResponse:
    return Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "too-many-at-once",
        "Too many of your requests are waiting; send this one again when some of them have ended.",
        headers={"Retry-After": "5"},
    ).response()


async def _on_lost_database(request: Request, error: Exception) -> JSONResponse:
    if is_full_database(error):
        return await _on_full_disk(request, error)
    _log.error("database_lost", method=request.method, path=request.url.path, error=repr(error))
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "database-unavailable",
        "The database cannot be reached, so the outcome of this request is unknown; check it, and try again soon.",
        headers={"Retry-After": "5"},
    ).response()


def _allowed_methods(request: Request) -> list[str]:
    """Return the methods of all routes with this path; Starlette reports only those of the first one."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    here = [methods for path, methods in paths.items() if compile_path(path)[0].match(request.url.path)]
    return sorted(method.upper() for methods in here for method in methods)


def describe(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI `responses` of a route that may answer with these errors."""
    return {int(status): {"model": ProblemDetails, "description": status.phrase} for status in statuses}
