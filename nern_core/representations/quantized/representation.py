"""Quantized weights as a representation: encode, pack, unpack and decode."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue
from torch import Tensor

from nern_core.container.document import Document
from nern_core.container.encoding import Encoding
from nern_core.container.file import PackedWeights
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.inputs.task import EncodingTask, TrainingPlan
from nern_core.representations.protocol import Arithmetic, Encoded, Representation
from nern_core.representations.quantized.descriptions import describe_first_coding, describe_quantized
from nern_core.representations.quantized.encoder import QuantizedEncoder
from nern_core.representations.quantized.first_coding.layer_streams import unpack_first_coding
from nern_core.representations.quantized.layer_shape import scratch_values
from nern_core.representations.quantized.settings import QuantizationConfig
from nern_core.representations.quantized.weights import (
    IntegerWeights,
    QuantizedWeights,
    stored_weights,
)

QuantizedEncoding = Encoding[QuantizedWeights]


class QuantizedRepresentation:
    """Weights are integers times steps; the distribution of the integers depends on their coordinates."""

    most_default_steps = 500

    def encode(self, task: EncodingTask, training: TrainingPlan, settings: QuantizationConfig) -> Encoded:
        """Quantize the weights, and train them if there are images."""
        return QuantizedEncoder(task, training, settings).encode()

    def operations_per_step(
        self,
        options: EncodeOptions,
        settings: QuantizationConfig,
        layers: Sequence[KernelLayer],
        distillation: float,
    ) -> float:
        """Return the operations of a step, which is one of distillation."""
        return distillation

    def pack(self, encoding: QuantizedEncoding) -> PackedWeights:
        """Return the streams of the weights. Raises `ValueError` for an encoding from a file of the first coding."""
        if encoding.document.representation != describe_quantized():
            raise ValueError("files of the first coding of quantized layers are only read")
        return encoding.weights.packed()

    def unpack(self, document: Document, packed: PackedWeights) -> QuantizedWeights:
        """Undo `pack`; damage within a layer is found when it is decoded. Raises `NernError` (`bad_encoding`)."""
        if not packed.tensors and document.representation == describe_first_coding():
            return IntegerWeights(unpack_first_coding(packed.streams, document.layers))
        if packed.tensors or document.representation != describe_quantized():
            raise NernError("bad_encoding", "The .nern file is damaged: it has more than quantized weights have.")
        return stored_weights(packed.streams, document.layers)

    def scratch_values(self, document: Document) -> int:
        """Count the numbers of the tables."""
        return scratch_values(document.layers)

    def decode_layers(
        self, encoding: QuantizedEncoding, indices: Sequence[int], arithmetic: Arithmetic
    ) -> list[Tensor]:
        """Multiply integers and steps; the result is the same everywhere."""
        return encoding.weights.tensors(indices, encoding.document.layers)

    def decode_kernel(self, encoding: QuantizedEncoding, index: int, filter_: int, channel: int) -> Tensor:
        """Decode one kernel."""
        return encoding.weights.kernel(index, encoding.document.layers[index], filter_, channel)

    def kernel_order(self, encoding: QuantizedEncoding, index: int) -> None:
        """Return None: kernels are in raster order."""

    def sizes(self, packed: PackedWeights) -> Mapping[str, int]:
        """Return the bytes of all streams."""
        return {"integers": sum(map(len, packed.streams))}

    def describe(self, encoding: QuantizedEncoding) -> Mapping[str, JsonValue]:
        """Return no facts: the layers have all."""
        return {}


QUANTIZED: Representation = QuantizedRepresentation()
