"""Errors of the API: RFC 9457 problem details (`application/problem+json`), each with advice on what to do."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import structlog
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.responses import JSONResponse

from app.kit.explanations import explain, field_of, is_not_of_the_form, without_consequences
from nern_core.contract.errors import NernError, sentence_case
from nern_core.contract.invalid_options import conflicting_option

MEDIA_TYPE = "application/problem+json"
# Explains in one sentence why a field is invalid.
Explain = Callable[[ErrorDetails], str]
# Limits for one problem.
_MOST_FIELDS = 8


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
        return cls.of_fields(slug, found, opening, explain)

    @classmethod
    def at(cls, field: str, slug: str, sentence: str) -> "Problem":
        """Return the problem with one field of the input."""
        fields = [FieldProblem(field=field, detail=sentence)]
        return cls(HTTPStatus.UNPROCESSABLE_ENTITY, slug, f"{field}: {sentence}", errors=fields)

    @classmethod
    def of_fields(cls, slug: str, details: Sequence[Any], opening: str = "", explain: Explain = explain) -> "Problem":
        """Return the problem for invalid fields, as the validation library describes them."""
        details = without_consequences(details)
        # A document with many small errors must not produce a response many times its size.
        fields = [FieldProblem(field=field_of(d), detail=_sentence(d, explain)) for d in details[:_MOST_FIELDS]]
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


def _sentence(detail: ErrorDetails, explain: Explain) -> str:
    """Explain an invalid field; the message of a conflict is a sentence of its own, without the name of a field."""
    return sentence_case(explain(detail)) if conflicting_option(detail) else explain(detail)


@contextmanager
def refusing(field: str) -> Iterator[None]:
    """Convert a `NernError` about the input in this field to a `Problem`."""
    try:
        yield
    except NernError as error:
        raise Problem.of_input(error, field) from error
