"""The predictor as a representation: encode, pack, unpack and decode."""

from collections.abc import Mapping, Sequence

import torch
from pydantic import JsonValue
from torch import Tensor

from nern_core.container.document import Document
from nern_core.container.encoding import Encoding
from nern_core.container.file import PackedWeights
from nern_core.contract.errors import NernError
from nern_core.contract.kernel_policy import default_hidden_size
from nern_core.contract.options import EncodeOptions
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.inputs.task import EncodingTask, TrainingPlan
from nern_core.representations.predicted.encoder import encode_with_predictor
from nern_core.representations.predicted.inference import predict_layers
from nern_core.representations.predicted.layer_scales import layer_scales
from nern_core.representations.predicted.permutation import inverse
from nern_core.representations.predicted.predictor import Predictor
from nern_core.representations.predicted.settings import PredictorSettings
from nern_core.representations.predicted.weights import (
    PredictedWeights,
    pack_orders,
    read_description,
    split_parameters,
    unpack_orders,
)
from nern_core.representations.protocol import EXACT, FEWEST_OPERATIONS_PER_STEP, Arithmetic, Encoded, Representation
from nern_core.tensors.kernels import assemble

_PARAMETERS = "predictor"
_PASSES_OF_PREDICTOR = 3
_OPERATIONS_PER_PARAMETER = 2
PredictorEncoding = Encoding[PredictedWeights]


class PredictedRepresentation:
    """Weights predicted from their coordinates, the published method."""

    most_default_steps = 20_000

    def encode(self, task: EncodingTask, training: TrainingPlan, settings: PredictorSettings) -> Encoded:
        """Order the kernels and train a predictor."""
        return Encoded(encode_with_predictor(task, training, settings))

    def operations_per_step(
        self,
        options: EncodeOptions,
        settings: PredictorSettings,
        layers: Sequence[KernelLayer],
        distillation: float,
    ) -> float:
        """Return the operations of an average step; most steps are reconstruction."""
        kernels = sum(layer.kernels for layer in layers)
        hidden_size = options.hidden_size or default_hidden_size(sum(layer.weights for layer in layers))
        # The parameters of the published shape with 3x3 kernels, see `default_hidden_size`.
        parameters = 3 * hidden_size**2 + 253 * hidden_size
        kernel = _PASSES_OF_PREDICTOR * _OPERATIONS_PER_PARAMETER * parameters
        reconstruction = max(
            kernel * min(kernels, settings.reconstruction.sampling.kernels_per_step), FEWEST_OPERATIONS_PER_STEP
        )
        if not distillation:
            return reconstruction
        distillation += kernel * min(kernels, settings.distillation.sampling.kernels_per_step)
        shares = settings.reconstruction.share.steps, settings.distillation.share.steps
        return shares[0] * reconstruction + shares[1] * distillation

    def pack(self, encoding: PredictorEncoding) -> PackedWeights:
        """Pack the parameters, and the order of each layer."""
        weights = encoding.weights
        parameters = torch.cat([parameter.flatten() for parameter in weights.parameters.values()])
        orders = pack_orders(weights.orders, encoding.document.layers, weights.description.permutation)
        return PackedWeights(streams=orders, tensors={_PARAMETERS: parameters})

    def unpack(self, document: Document, packed: PackedWeights) -> PredictedWeights:
        """Undo `pack`. Raises `NernError` (`bad_encoding`)."""
        description = read_description(document)
        if set(packed.tensors) - {_PARAMETERS}:
            raise NernError("bad_encoding", "The .nern file is damaged: it has tensors that its predictor does not.")
        return PredictedWeights(
            description,
            split_parameters(description.predictor, document.layers, packed.tensors.get(_PARAMETERS)),
            unpack_orders(packed.streams, document.layers, description.permutation),
        )

    def scratch_values(self, document: Document) -> int:
        """Count the numbers of the codes of all coordinates."""
        rows = sum(1 + layer.filters + layer.channels for layer in document.layers)
        return rows * 3 * read_description(document).predictor.variant.encoding.size

    def decode_layers(
        self, encoding: PredictorEncoding, indices: Sequence[int], arithmetic: Arithmetic
    ) -> list[Tensor]:
        """Predict the kernels of these layers and put them back into their places."""
        layers, orders, scales = encoding.document.layers, encoding.weights.orders, _scales(encoding)
        predicted = predict_layers(_predictor(encoding, arithmetic), indices, [scales[index] for index in indices])
        return [
            _assemble(kernels, layers[index], orders[index]) for index, kernels in zip(indices, predicted, strict=True)
        ]

    def decode_kernel(self, encoding: PredictorEncoding, index: int, filter_: int, channel: int) -> Tensor:
        """Predict one kernel, in float64."""
        layer, order = encoding.document.layers[index], encoding.weights.orders[index]
        place = filter_ * layer.channels + channel
        position = place if order is None else int((order == place).nonzero())
        coordinate = torch.tensor([[index, *divmod(position, layer.channels)]])
        with torch.no_grad():
            return _predictor(encoding, EXACT).at(coordinate, layer.head)[0] * _scales(encoding)[index]

    def kernel_order(self, encoding: PredictorEncoding, index: int) -> Tensor | None:
        """Return the order of the kernels along their coordinates."""
        return encoding.weights.orders[index]

    def sizes(self, packed: PackedWeights) -> Mapping[str, int]:
        """Return the bytes of the parameters and of the orders."""
        parameters = packed.tensors.get(_PARAMETERS)
        return {
            "predictor": 0 if parameters is None else parameters.nbytes,
            "permutation": sum(map(len, packed.streams)),
        }

    def describe(self, encoding: PredictorEncoding) -> Mapping[str, JsonValue]:
        """Return the shape of the predictor."""
        weights = encoding.weights
        return {
            "kernels_per_coordinate": encoding.document.options.kernels_per_coordinate,
            "permutation": weights.description.permutation.value,
            "hidden_size": weights.description.predictor.hidden_size,
            "predictor_parameters": sum(parameter.numel() for parameter in weights.parameters.values()),
            "predictor_dtype": str(next(iter(weights.parameters.values())).dtype).removeprefix("torch."),
        }


def _assemble(kernels: Tensor, layer: KernelLayer, order: Tensor | None) -> Tensor:
    return assemble(kernels if order is None else kernels[inverse(order)], layer).contiguous()


def _scales(encoding: PredictorEncoding) -> tuple[float, ...]:
    description = encoding.weights.description
    return layer_scales(description.scale, description.layer_exponents, len(encoding.document.layers))


def _predictor(encoding: PredictorEncoding, arithmetic: Arithmetic) -> Predictor:
    config = encoding.weights.description.predictor
    predictor = Predictor(config, encoding.document.layers).to(arithmetic.device, arithmetic.dtype)
    predictor.load_state_dict(encoding.weights.parameters)
    return predictor


PREDICTED: Representation = PredictedRepresentation()
