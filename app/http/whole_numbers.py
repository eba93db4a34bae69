"""Whole numbers in headers and query parameters: ASCII digits alone, as HTTP and tus write them."""

import re
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticKnownError

# Negative ones are numbers, so that the error names the limit. More digits are beyond every limit.
_NUMBER = re.compile(r"[0-9]{1,20}|-[1-9][0-9]{0,19}")


def _require_digits(value: object) -> object:
    """Raise an error for a text such as `+5`, `5.0` or `1_0`, which pydantic takes for a number."""
    if isinstance(value, str) and _NUMBER.fullmatch(value) is None:
        raise PydanticKnownError("int_parsing")
    return value


WholeNumber = Annotated[int, BeforeValidator(_require_digits)]
