"""Quantize the layers of a checkpoint so that the file has a wanted size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from nern_core.checkpoint import find_tied
from nern_core.codec import Kept
from nern_core.errors import NernError
from nern_core.kernels import KernelLayer
from nern_core.quantized.layer import QuantizedLayer
from nern_core.rate_distortion.batch_norm import fold_batch_norm
from nern_core.rate_distortion.parameters import QuantizedParameters
from nern_core.rate_distortion.rate import RateModel
from nern_core.rate_distortion.start import rescaled, starting_steps
from nern_core.rate_distortion.train import QuantizationSteps, RateDistillation
from nern_core.rate_distortion.trim import trimmed
from nern_core.snapshots import Snapshots
from nern_core.training.clock import Clock
from nern_core.training.images import ImageSource
from nern_core.training.loop import StepReport, train
from nern_core.training.quantization import QuantizationConfig
from nern_core.training.teacher import Teacher

# More bits for a weight than this change no decision of a network, fewer leave nothing of it.
_MOST_BITS_PER_WEIGHT, _FEWEST_BITS_PER_WEIGHT = 8.0, 0.05
# What the integers are aimed at, of what there is room for: the last estimate is off by less.
_AIM = 0.998
_MOST_TRIMS = 20


@dataclass(frozen=True, slots=True)
class Quantized:
    """What goes into the file: the represented layers, the kept tensors, and which tensors repeat another one.

    `parameters` are what the layers and the trained tensors were rounded from.
    """

    layers: tuple[QuantizedLayer, ...]
    kept: dict[str, Kept]
    tied: dict[str, str]
    parameters: QuantizedParameters

    @property
    def integers(self) -> list[Tensor]:
        """The integers (F, C, P) of each layer."""
        return [layer.integers for layer in self.layers]


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How the weights are trained on the way: images, a teacher, the clock that says for how long, snapshots."""

    teacher: Teacher
    images: ImageSource
    clock: Clock
    on_step: Callable[[StepReport], None]
    snapshots: Snapshots


def quantize(
    checkpoint: Mapping[str, Tensor],
    layers: Sequence[KernelLayer],
    network: nn.Module | None,
    config: QuantizationConfig,
    target: int,
    size_of: Callable[[Quantized], int],
    training: Training | None,
    previous: QuantizedParameters | None = None,
) -> Quantized:
    """Quantize for a file of at most `target` bytes; `size_of` says how large a file is.

    Batch normalization is folded where the `network` is known. Without training, weights become the integers next to
    them and the tensors that are kept stay as they are; with it, the weights follow the teacher, and what is kept is
    trained too and rounded to 8 bits. With the parameters of a `previous` quantization of the same checkpoint, this one
    goes on from them. Raises `NernError` (`target_too_small`, `diverged`).
    """
    tensors = dict(checkpoint)
    folded = {} if network is None else fold_batch_norm(network)
    tensors |= {name: tensor.cpu() for name, tensor in folded.items() if name in tensors}
    tied = find_tied(tensors)
    represented = {layer.name for layer in layers}
    kept = {name: tensor for name, tensor in tensors.items() if name not in represented | tied.keys()}
    trained = _trained_names(kept, training)

    def start(bits: float) -> QuantizedParameters:
        if previous is not None:
            return rescaled(previous, bits)
        steps = starting_steps(layers, tensors, bits)
        return QuantizedParameters(layers, tensors, steps, {name: tensors[name] for name in trained})

    def rounded(parameters: QuantizedParameters) -> Quantized:
        layers = parameters.quantized_layers(parameters.integers())
        return Quantized(layers, {**kept, **parameters.rounded_vectors()}, tied, parameters)

    weights = sum(layer.weights for layer in layers)
    parameters, wanted_bits = _started(start, weights, target, lambda parameters: size_of(rounded(parameters)))
    if training is not None:
        parameters.to(training.teacher.device)
        # The parameters themselves: `functional_call` knows by their identity which ones layers share.
        state = training.teacher.network.state_dict(keep_vars=True) | folded
        loss = RateDistillation(config, parameters, state, tied, wanted_bits, training.teacher, training.images)
        steps = QuantizationSteps(config, parameters)
        train(loss, steps, training.clock, (0.0, 1.0), training.on_step, training.snapshots)
        parameters.cpu()
    return _fitted(rounded(parameters), target, size_of)


def _trained_names(kept: Mapping[str, Tensor], training: Training | None) -> list[str]:
    """Parameters of the network among the kept tensors."""
    if training is None:
        return []
    parameters = dict(training.teacher.network.named_parameters(remove_duplicate=False))
    return [name for name, tensor in kept.items() if name in parameters and tensor.numel()]


def _started(
    start: Callable[[float], QuantizedParameters],
    weights: int,
    target: int,
    size_of: Callable[[QuantizedParameters], int],
) -> tuple[QuantizedParameters, float]:
    """Parameters that take about the target's bytes, and the bits that their integers may take.

    `start` makes parameters of so many `weights` whose integers take so many bits.
    """
    bits = float(weights)
    # What is not integers hardly depends on them: the second estimate is exact to within some bytes.
    for _ in range(2):
        parameters = start(bits)
        integer_bits = RateModel(parameters.integers()).bits_of_rounded(list(parameters.latents))
        others = size_of(parameters) - integer_bits / 8
        bits = 8 * _AIM * (target - others)
        if bits < _FEWEST_BITS_PER_WEIGHT * weights:
            smallest = others + _FEWEST_BITS_PER_WEIGHT * weights / 8
            raise NernError(
                "target_too_small",
                f"A file of {target:,} bytes has no room for the weights: all else takes {others:,.0f} bytes; "
                f"aim for {smallest:,.0f} or more.",
            )
        bits = min(bits, _MOST_BITS_PER_WEIGHT * weights)
    return parameters, bits


def _fitted(result: Quantized, target: int, size_of: Callable[[Quantized], int]) -> Quantized:
    """The result without the bits that are too many for the target."""
    latents = list(result.parameters.latents)
    for _ in range(_MOST_TRIMS):
        excess = size_of(result) - target
        if excess <= 0:
            return result
        integers = trimmed(latents, result.integers, 8.0 * (excess + 8))
        result = replace(result, layers=result.parameters.quantized_layers(integers))
    raise NernError("target_too_small", f"No file of {target:,} bytes could be made; aim for more.")
