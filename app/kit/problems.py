"""Errors of the API: RFC 9457 problem details (`application/problem+json`), each with advice on what to do."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path

from app.db.engine import DATABASE_LOST
from app.kit.durable_files import DiskFull
from app.kit.explanations import explain, field_of, is_not_of_the_form, of_request, without_consequences
from app.kit.fair_shares import QueueFull
from app.storage.artifacts import StoreUnavailable
from nern_core.contract.errors import NernError
from nern_core.contract.options import conflicting_option

MEDIA_TYPE = "application/problem+json"
# Explains in one sentence why a field is invalid.
Explain = Callable[[ErrorDetails], str]
_log = structlog.get_logger()
# Limits for one problem.
_MOST_FIELDS = 8
_SCHEMA = "#/components/schemas/ProblemDetails"
_HINTS = {
    HTTPStatus.NOT_FOUND: "There is nothing at this address; /docs lists all of them.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does not take this method; /docs lists what it takes.",
}


class FieldProblem(BaseModel):
    """Error in one field of the input."""

    field: str
    detail: str


class ProblemDetails(BaseModel):
    """Body of every error. `type` is a stable slug for programs, `detail` a sentence for people.

    `request_id` identifies the request in the operator's log.
    """

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None
    request_id: str | None = None


class Problem(Exception):
    """An error that ends a request."""

    def __init__(
        self,
        status: HTTPStatus,
        slug: str,
        detail: str,
        *,
        errors: Sequence[FieldProblem] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.headers = headers
        self.details = ProblemDetails(
            type=slug, title=status.phrase, status=status, detail=detail, errors=list(errors) or None
        )

    @classmethod
    def of_input(cls, error: NernError, field: str | None = None) -> "Problem":
        """Return the problem for input that cannot be encoded; `field` is the field that it came in."""
        fields = [] if field is None else [FieldProblem(field=field, detail=error.message)]
        return cls(HTTPStatus.UNPROCESSABLE_ENTITY, error.code.replace("_", "-"), error.message, errors=fields)

    @classmethod
    def of_validation(
        cls,
        slug: str,
        error: ValidationError,
        opening: str = "",
        explain: Explain = explain,
        within: str | None = None,
        name: str | None = None,
        form: str | None = None,
    ) -> "Problem":
        """Return the problem for a document that does not fit its model; `within` is the field that it came in.

        `opening` precedes the detail. `name` names the document if its fields are named without it. A document of
        another kind is answered with `form`, which says what to send.
        """
        found = error.errors(include_url=False)
        field = within or name
        if form is not None and field is not None and any(map(is_not_of_the_form, found)):
            fields = [FieldProblem(field=field, detail=f"send {form}.")]
            return cls(HTTPStatus.UNPROCESSABLE_ENTITY, slug, f"{opening}{field}: send {form}.", errors=fields)
        if within is not None:
            found = [{**detail, "loc": (within, *detail["loc"])} for detail in found]
        return cls._of_fields(slug, found, opening, explain)

    @classmethod
    def at(cls, field: str, slug: str, sentence: str) -> "Problem":
        """Return the problem with one field of the input."""
        fields = [FieldProblem(field=field, detail=sentence)]
        return cls(HTTPStatus.UNPROCESSABLE_ENTITY, slug, f"{field}: {sentence}", errors=fields)

    @classmethod
    def _of_fields(cls, slug: str, details: Sequence[Any], opening: str = "", explain: Explain = explain) -> "Problem":
        details = without_consequences(details)
        # A document with many small errors must not produce a response many times its size.
        fields = [FieldProblem(field=field_of(d), detail=explain(d)) for d in details[:_MOST_FIELDS]]
        # The message of a conflict already names its options.
        named = [f.field and not conflicting_option(d) for f, d in zip(fields, details, strict=False)]
        summary = " ".join(
            f"{f.field}: {f.detail}" if name else f.detail for f, name in zip(fields, named, strict=True)
        )
        if len(details) > _MOST_FIELDS:
            summary += f" {len(details) - _MOST_FIELDS:,} more fields do not fit."
        return cls(HTTPStatus.UNPROCESSABLE_ENTITY, slug, opening + summary, errors=fields)

    def response(self) -> JSONResponse:
        """Return the response to send."""
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        return JSONResponse(
            self.details.model_copy(update={"request_id": request_id}).model_dump(exclude_none=True),
            status_code=self.details.status,
            headers=self.headers,
            media_type=MEDIA_TYPE,
        )


@contextmanager
def refusing(field: str) -> Iterator[None]:
    """Convert a `NernError` about the input in this field to a `Problem`."""
    try:
        yield
    except NernError as error:
        raise Problem.of_input(error, field) from error


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
        return answer(request, Problem._of_fields("invalid-request", [*map(of_request, error.errors())]))  # noqa: SLF001 # same module

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
