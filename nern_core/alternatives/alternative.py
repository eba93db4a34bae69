"""One way to store a checkpoint other than a neural representation."""

from dataclasses import dataclass
from typing import Final

from torch import Tensor

# The method that trains the network, see `nern_core.direct_quantization`.
DIRECT_QUANTIZATION: Final = "direct quantization"


@dataclass(frozen=True, kw_only=True, slots=True)
class Alternative:
    """A checkpoint after another method: its name, what it takes, and the tensors that come back.

    `seconds` are those that the method took; None for one that takes hardly any.
    """

    name: str
    bytes: int
    tensors: dict[str, Tensor]
    seconds: float | None = None
