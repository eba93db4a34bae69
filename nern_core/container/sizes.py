"""Bytes of a `.nern` file by purpose."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Bytes of a `.nern` file by purpose; `header` is the rest: the document, and names and shapes of tensors.

    `graph` is the part of the header that holds the graph of an ONNX file.

    `weights` are the parts of the representation by name. `integers` are quantized weights, including the description
    of their distributions.
    """

    file: int
    weights: Mapping[str, int]
    kept: int
    graph: int = 0

    @property
    def predictor(self) -> int:
        """Return the bytes of the predictor's parameters."""
        return self.weights.get("predictor", 0)

    @property
    def permutation(self) -> int:
        """Return the bytes of the kernels' orders."""
        return self.weights.get("permutation", 0)

    @property
    def integers(self) -> int:
        """Return the bytes of quantized weights."""
        return self.weights.get("integers", 0)

    @property
    def header(self) -> int:
        """Return the bytes that hold neither weights nor kept tensors."""
        return self.file - sum(self.weights.values()) - self.kept
