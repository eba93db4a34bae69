"""A third representation: the weights as half-precision numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import JsonValue
from torch import Tensor

from nern_core.container.document import Document
from nern_core.container.encoding import Encoding
from nern_core.container.file import PackedWeights
from nern_core.contract.options import EncodeOptions
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.inputs.task import EncodingTask, TrainingPlan
from nern_core.representations.protocol import Arithmetic, Encoded, Representation

HalfEncoding = Encoding[list[Tensor]]


class ToyRepresentation:
    most_default_steps = 1

    def encode(self, task: EncodingTask, training: TrainingPlan, settings: None) -> Encoded:
        represented = [task.tensors[layer.name].half() for layer in task.source.layers]
        not_kept = {layer.name for layer in task.source.layers} | set(task.source.tied)
        kept = {name: tensor for name, tensor in task.tensors.items() if name not in not_kept}
        return Encoded(Encoding(task.document({"kind": "toy", "bits": 16}, task.source.tied), represented, dict(kept)))

    def operations_per_step(
        self, options: EncodeOptions, settings: None, layers: Sequence[KernelLayer], distillation: float
    ) -> float:
        return distillation

    def pack(self, encoding: HalfEncoding) -> PackedWeights:
        return PackedWeights(tensors={"halves": torch.cat([weights.flatten() for weights in encoding.weights])})

    def unpack(self, document: Document, packed: PackedWeights) -> list[Tensor]:
        parts = packed.tensors["halves"].split([layer.weights for layer in document.layers])
        return [part.view(layer.shape) for part, layer in zip(parts, document.layers, strict=True)]

    def scratch_values(self, document: Document) -> int:
        return 0

    def decode_layers(self, encoding: HalfEncoding, indices: Sequence[int], arithmetic: Arithmetic) -> list[Tensor]:
        layers = encoding.document.layers
        return [encoding.weights[index].to(getattr(torch, layers[index].dtype)) for index in indices]

    def decode_kernel(self, encoding: HalfEncoding, index: int, filter_: int, channel: int) -> Tensor:
        layer = encoding.document.layers[index]
        return encoding.weights[index].view(layer.filters, layer.channels, layer.kernel_values)[filter_, channel]

    def kernel_order(self, encoding: HalfEncoding, index: int) -> None:
        return None

    def sizes(self, packed: PackedWeights) -> Mapping[str, int]:
        return {"halves": packed.tensors["halves"].nbytes}

    def describe(self, encoding: Encoding[Any]) -> Mapping[str, JsonValue]:
        return {"bits": 16}


TOY: Representation = ToyRepresentation()
