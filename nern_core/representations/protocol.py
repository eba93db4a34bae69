"""The protocol of a representation of weights.

Nothing outside this package asks which representation an encoding has. A new one is an object with these methods, and
an entry in `nern_core.contract.representations`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from pydantic import JsonValue
from torch import Tensor

from nern_core.container.document import Document
from nern_core.container.encoding import Encoding
from nern_core.container.file import PackedWeights
from nern_core.contract.options import EncodeOptions
from nern_core.contract.report import SizeTrial
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.inputs.task import EncodingTask, TrainingPlan

# The time of small training steps is dominated by overhead.
FEWEST_OPERATIONS_PER_STEP = 2.5e9
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Arithmetic:
    """Dtype and device for computing a predictor's weights. The decoded tensors are always on the CPU.

    In `torch.float32`, results depend on the processor and the device, by a few millionths of a layer's largest weight.
    """

    dtype: torch.dtype = torch.float64
    device: torch.device = _CPU


EXACT = Arithmetic()


@dataclass(frozen=True, slots=True)
class Encoded:
    """A new encoding, the sizes that were tried for it, if any, and sentences on it for the report."""

    encoding: Encoding[Any]
    size_trials: tuple[SizeTrial, ...] = ()
    notes: tuple[str, ...] = ()


class Representation(Protocol):
    """A way to represent the tensors that an encoding does not keep.

    `most_default_steps` limits the default number of training steps.
    """

    @property
    def most_default_steps(self) -> int:
        """Return the largest default number of training steps."""

    def encode(self, task: EncodingTask, training: TrainingPlan, settings: Any) -> Encoded:  # noqa: ANN401 # its own
        """Represent the layers of a checkpoint; `settings` are the recipe's for this representation.

        Raises `NernError` (`target_too_small`, `diverged`).
        """

    def operations_per_step(
        self,
        options: EncodeOptions,
        settings: Any,  # noqa: ANN401 # the representation's own
        layers: Sequence[KernelLayer],
        distillation: float,
    ) -> float:
        """Return the operations of an average training step, given those of a pass of a batch of images."""

    def pack(self, encoding: Encoding[Any]) -> PackedWeights:
        """Pack the weights for a file."""

    def unpack(self, document: Document, packed: PackedWeights) -> Any:  # noqa: ANN401 # its own class
        """Undo `pack`. Raises `NernError` (`bad_encoding`)."""

    def scratch_values(self, document: Document) -> int:
        """Count the numbers that decoding allocates beside the decoded tensors. Raises `NernError` (`bad_encoding`)."""

    def decode_layers(self, encoding: Encoding[Any], indices: Sequence[int], arithmetic: Arithmetic) -> list[Tensor]:
        """Decode the represented tensors of these layers, on the CPU, in their dtypes and shapes."""

    def decode_kernel(self, encoding: Encoding[Any], index: int, filter_: int, channel: int) -> Tensor:
        """Decode the values of a single kernel of layer `index`, flat, in any dtype at least as precise."""

    def kernel_order(self, encoding: Encoding[Any], index: int) -> Tensor | None:
        """Return the order of the kernels of layer `index`, int64 (kernels,), or None for raster order."""

    def sizes(self, packed: PackedWeights) -> Mapping[str, int]:
        """Return the bytes of the packed weights by purpose."""

    def describe(self, encoding: Encoding[Any]) -> Mapping[str, JsonValue]:
        """Return facts about the weights for users, such as the `hidden_size` of a predictor."""
