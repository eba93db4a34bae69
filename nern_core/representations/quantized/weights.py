"""Quantized weights, as a `.nern` file holds them."""

from dataclasses import dataclass

from pydantic import JsonValue

from nern_core.contract.representations import QUANTIZED
from nern_core.representations.quantized.layer import QuantizedLayer


@dataclass(frozen=True, slots=True)
class QuantizedWeights:
    """The layers as integers, one for each layer of the document."""

    layers: tuple[QuantizedLayer, ...]


def describe_quantized() -> dict[str, JsonValue]:
    """Return the description for the document of a file: the integers need none."""
    return {"kind": QUANTIZED}
