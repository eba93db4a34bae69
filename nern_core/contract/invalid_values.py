"""Plain sentences on invalid values, in the place of the words of the validation library."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic_core import ErrorDetails

_WHOLE_NUMBER: Final = "this must be a whole number."
_NUMBER: Final = "this must be a number."
_TRUE_OR_FALSE: Final = "this must be true or false."
_SENTENCES: Final[Mapping[str, str]] = {
    "bool_parsing": _TRUE_OR_FALSE,
    "bool_type": _TRUE_OR_FALSE,
    "finite_number": "this must be a finite number.",
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_parsing_size": "this number is too large.",
    "int_type": _WHOLE_NUMBER,
    "missing": "this is missing.",
    "string_type": "this must be a text.",
    "time_delta_parsing": "this must be a time in seconds, such as 300, or in the form of ISO 8601, such as PT5M.",
    "time_delta_type": "this must be a time in seconds, such as 300, or in the form of ISO 8601, such as PT5M.",
}
# Sentences with the limits or the values that the library's error names.
_WITH_CONTEXT: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "enum": lambda limits: f"use {limits['expected']}.",
    "greater_than": lambda limits: f"this must be more than {_exact(limits['gt'])}.",
    "greater_than_equal": lambda limits: f"this must be at least {_exact(limits['ge'])}.",
    "less_than": lambda limits: f"this must be less than {_exact(limits['lt'])}.",
    "less_than_equal": lambda limits: f"this must be at most {_exact(limits['le'])}.",
    "literal_error": lambda limits: f"use {limits['expected']}.",
    "string_too_long": lambda limits: f"use at most {_characters(limits['max_length'])}.",
    "string_too_short": lambda limits: f"use at least {_characters(limits['min_length'])}.",
}


def explain_value(detail: ErrorDetails) -> str:
    """Describe an invalid value in one sentence, from pydantic's error."""
    kind = detail["type"]
    if kind in _SENTENCES:
        return _SENTENCES[kind]
    if kind in _WITH_CONTEXT:
        return _WITH_CONTEXT[kind](detail.get("ctx", {}))
    text = detail["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{text[0].lower()}{text[1:]}."


def _exact(limit: float) -> str:
    return str(int(limit)) if int(limit) == limit else str(limit)


def _characters(number: int) -> str:
    return f"{number:,} {'character' if number == 1 else 'characters'}"
