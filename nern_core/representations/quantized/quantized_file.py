"""The file of a task's quantized weights: its document, its size, and the tensors that it decodes to."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from nern_core.container.encoding import Encoding
from nern_core.container.file import packed_size
from nern_core.container.rebuild import rebuild_checkpoint
from nern_core.inputs.task import EncodingTask
from nern_core.representations.quantized.quantizer import Quantized
from nern_core.representations.quantized.weights import IntegerWeights, decoded_tensor, describe_quantized


@dataclass(frozen=True, slots=True)
class QuantizedFile:
    """Makes the file of quantized contents in memory."""

    task: EncodingTask

    def encoding(self, quantized: Quantized) -> Encoding[IntegerWeights]:
        """Return the contents with their document."""
        return Encoding(
            document=self.task.document(describe_quantized(), quantized.tied),
            weights=IntegerWeights(quantized.layers),
            kept=quantized.kept,
        )

    def size(self, quantized: Quantized) -> int:
        """Return the bytes of the file."""
        encoding = self.encoding(quantized)
        return packed_size(encoding.document, encoding.weights.packed(), quantized.kept)

    def decoded(self, quantized: Quantized) -> Mapping[str, Tensor]:
        """Return all tensors that the file decodes to."""
        document = self.encoding(quantized).document
        parts = zip(document.layers, quantized.layers, strict=True)
        represented = {layer.name: decoded_tensor(coded, layer) for layer, coded in parts}
        return rebuild_checkpoint(document, represented, quantized.kept).tensors
