"""An alternative way to store a checkpoint."""

from dataclasses import dataclass
from typing import Final

from torch import Tensor

# The method that trains the network; see `nern_core.analysis.direct_quantization`.
DIRECT_QUANTIZATION: Final = "direct quantization"


@dataclass(frozen=True, kw_only=True, slots=True)
class Alternative:
    """A checkpoint stored by another method: the method's name, the size in bytes and the decoded tensors.

    `seconds` is the method's run time; None for methods that take almost no time.
    """

    name: str
    bytes: int
    tensors: dict[str, Tensor]
    seconds: float | None = None
