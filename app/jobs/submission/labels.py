"""Labels of jobs: key-value pairs that users choose."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from app.kit.file_names import UNFIT_CHARACTERS
from app.kit.patterns import Matching
from app.kit.problems import FieldProblem, Problem

_KEY = r"^[a-z0-9._/-]{1,63}$"
_PAIR = re.compile(r"([a-z0-9._/-]{1,63})=([^\x00-\x1f\x7f]{0,255})")

_ONE_LINE = "the value of a label is one line of text without control characters"


def _require_line(value: str) -> str:
    """Raise `ValueError` for line breaks and control characters outside of ASCII, too."""
    if UNFIT_CHARACTERS.search(value):
        raise ValueError(_ONE_LINE)
    return value


Key = Annotated[str, Matching(_KEY, "the key of a label is 1 to 63 lowercase letters, digits and `._/-`")]
# No NUL, which PostgreSQL cannot store, and no line breaks, which would break a list of jobs.
Value = Annotated[
    str,
    Field(max_length=255),
    Matching(r"^[^\x00-\x1f\x7f]*$", _ONE_LINE),
    AfterValidator(_require_line),
]
Labels = Annotated[
    dict[Key, Value],
    Field(
        max_length=16,
        description="Key-value pairs that `GET /jobs?label=key=value` finds the job by: keys of lowercase letters, "
        "digits and `._/-`, values of up to 255 characters.",
    ),
]
_FORM = 'a JSON object of texts, such as {"team": "vision"}'
_LABELS: TypeAdapter[dict[str, str]] = TypeAdapter(Labels)


class Label(NamedTuple):
    """One pair."""

    key: str
    value: str


def parse_labels(text: bytes) -> dict[str, str]:
    """Parse labels from JSON. Raises `Problem` (`invalid-labels`)."""
    try:
        return _LABELS.validate_json(text)
    except ValidationError as error:
        raise Problem.of_validation("invalid-labels", error, within="labels", form=_FORM) from error


def parse_wanted(pairs: Iterable[str]) -> list[Label]:
    """Parse the labels that a list is filtered by, each `key=value`. Raises `Problem` (`invalid-label`)."""
    return [_parse_pair(pair) for pair in dict.fromkeys(pairs)]


def _parse_pair(pair: str) -> Label:
    found = _PAIR.fullmatch(pair)
    if found is None:
        detail = f"{pair[:64]!r} is not a label; write ?label=key=value, such as ?label=team=vision."
        fields = [FieldProblem(field="label", detail=detail)]
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-label", detail, errors=fields)
    return Label(found[1], found[2])
