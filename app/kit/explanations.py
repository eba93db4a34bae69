"""Explanations of invalid fields, in the words of HTTP and JSON instead of those of the validation library."""

from collections.abc import Sequence
from typing import Any, Final

from pydantic_core import ErrorDetails

from nern_core.contract.catalogue.architectures import UNKNOWN_ARCHITECTURE
from nern_core.contract.invalid_options import conflicting_option, explain_invalid
from nern_core.contract.invalid_values import explain_value

_LONGEST_FIELD = 80
_SENTENCES: Final = {
    "dict_type": "this must be a JSON object.",
    "extra_forbidden": "there is no such field.",
    "list_type": "this must be a list.",
    "model_attributes_type": "this must be a JSON object.",
    "model_type": "this must be a JSON object.",
    "tuple_type": "this must be a list.",
}
# Those of a document as a whole, for which its form is shown instead.
_NOT_OF_THE_FORM: Final = frozenset(
    {"dict_type", "int_from_float", "int_parsing", "int_type", "json_invalid", "model_attributes_type", "model_type"}
)


def explain(detail: ErrorDetails) -> str:
    """Say in one sentence what is wrong with a field."""
    if detail["type"] in _SENTENCES:
        return _SENTENCES[detail["type"]]
    context = detail.get("ctx", {})
    if detail["type"] == "json_invalid":
        return f"this is not JSON: {context['error']}."
    if detail["type"] == "too_short":
        return f"give at least {_entries(context['min_length'])}."
    if detail["type"] == "too_long":
        return f"give at most {_entries(context['max_length'])}."
    return explain_value(detail)


def explain_option(detail: ErrorDetails) -> str:
    """Say in one sentence what is wrong with an option of an encoding."""
    of_options = detail["type"] in {"extra_forbidden", UNKNOWN_ARCHITECTURE}
    return explain_invalid(detail) if of_options else explain(detail)


def is_not_of_the_form(detail: ErrorDetails) -> bool:
    """Tell errors of a document as a whole that is not what was expected at all."""
    return not detail["loc"] and detail["type"] in _NOT_OF_THE_FORM


def without_consequences(details: Sequence[Any]) -> list[Any]:
    """Leave out that a list is too short where the reason is an invalid entry, which was not counted."""
    return [
        detail
        for detail in details
        if detail["type"] != "too_short"
        or not any(len(other["loc"]) > len(detail["loc"]) and _is_within(other, detail) for other in details)
    ]


def field_of(detail: ErrorDetails) -> str:
    """Name the field that an error is about, as a path with dots."""
    conflicting = conflicting_option(detail)
    if conflicting is not None:
        return conflicting
    # Pydantic marks errors of a key so.
    name = ".".join(str(part) for part in detail["loc"] if part != "[key]")
    return name if len(name) <= _LONGEST_FIELD else f"{name[:_LONGEST_FIELD]}…"


def of_request(detail: ErrorDetails) -> ErrorDetails:
    """Name a parameter without where it stands in the request, and without its number if it is repeated."""
    place, *loc = detail["loc"]
    return {**detail, "loc": tuple(loc[:1] if place == "query" else loc)}


def _entries(number: int) -> str:
    return f"{number:,} {'entry' if number == 1 else 'entries'}"


def _is_within(detail: Any, other: Any) -> bool:  # noqa: ANN401 # of pydantic or of FastAPI
    return bool(detail["loc"][: len(other["loc"])] == other["loc"])
