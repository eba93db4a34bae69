"""The descriptions of quantized weights in the documents of files. Torch-free."""

from typing import Final

from pydantic import JsonValue

from nern_core.contract.representations import QUANTIZED

_CODING: Final = "coding"
_LANES: Final = "lanes"


def describe_quantized() -> dict[str, JsonValue]:
    """Return the description for the document of a file."""
    return {"kind": QUANTIZED, _CODING: _LANES}


def describe_first_coding() -> dict[str, JsonValue]:
    """Return the description in documents of the format versions 4 to 6."""
    return {"kind": QUANTIZED}
