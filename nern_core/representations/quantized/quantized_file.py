"""The file of a task's quantized weights: its document, its size, and the tensors that it decodes to."""

from collections.abc import Mapping

from torch import Tensor

from nern_core.container.document import Document
from nern_core.container.encoding import Encoding
from nern_core.container.file import PackedWeights, packed_size
from nern_core.container.rebuild import rebuild_checkpoint
from nern_core.inputs.task import EncodingTask
from nern_core.representations.quantized.descriptions import describe_quantized
from nern_core.representations.quantized.quantizer import Quantized
from nern_core.representations.quantized.weights import IntegerWeights, StoredWeights, decoded_tensor, stored_weights


class QuantizedFile:
    """Makes the file of quantized contents in memory."""

    def __init__(self, task: EncodingTask) -> None:
        self._task = task
        # The last contents and their streams: the contents that are measured last are usually the result.
        self._last: tuple[Quantized, PackedWeights] | None = None

    def encoding(self, quantized: Quantized) -> Encoding[StoredWeights]:
        """Return the packed contents with their document."""
        document = self._document(quantized)
        weights = stored_weights(self._packed(quantized).streams, document.layers)
        return Encoding(document=document, weights=weights, kept=quantized.kept)

    def size(self, quantized: Quantized) -> int:
        """Return the bytes of the file."""
        return packed_size(self._document(quantized), self._packed(quantized), quantized.kept)

    def decoded(self, quantized: Quantized) -> Mapping[str, Tensor]:
        """Return all tensors that the file decodes to."""
        document = self._document(quantized)
        parts = zip(document.layers, quantized.layers, strict=True)
        represented = {layer.name: decoded_tensor(coded, layer) for layer, coded in parts}
        return rebuild_checkpoint(document, represented, quantized.kept).tensors

    def _document(self, quantized: Quantized) -> Document:
        return self._task.document(describe_quantized(), quantized.tied)

    def _packed(self, quantized: Quantized) -> PackedWeights:
        if self._last is None or self._last[0] is not quantized:
            self._last = (quantized, IntegerWeights(quantized.layers).packed())
        return self._last[1]
