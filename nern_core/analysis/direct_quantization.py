"""The strongest alternative with training images: quantize the network itself while it is distilled.

Learned step sizes (LSQ, Esser et al., 2020), one per output channel, initialized at the least squared error; Adam at
1e-3, the divergence of the logits, images drawn as in the recipe `fast`. All convolutions have the same number of
levels, and so do matrices that hold a significant share of the weights. The size is counted in its favour: the entropy
of the integers, with steps and everything else in fp16, no names and no file.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from nern_core.analysis.baselines import DIRECT_QUANTIZATION, Alternative
from nern_core.analysis.comparison import Comparison, architecture_of
from nern_core.analysis.meta_compression.operations import entropy_bits
from nern_core.contract.errors import NernError
from nern_core.contract.progress import OnProgress, Phase, Progress
from nern_core.networks import build_network
from nern_core.networks.datasets import dataset_preprocessing, read_image_set
from nern_core.recipes.fast import FAST
from nern_core.tensors.checkpoint import find_tied
from nern_core.training.clock import Budget, Clock
from nern_core.training.image_source import image_source
from nern_core.training.images import ImageSource
from nern_core.training.loop import StepReport, train
from nern_core.training.loss import Batch, Loss
from nern_core.training.losses import logit_divergence
from nern_core.training.optim import OptimizerConfig, make_optimizers
from nern_core.training.precision import mixed_precision
from nern_core.training.snapshots import Snapshots, State
from nern_core.training.student import Student
from nern_core.training.teacher import Teacher

_OPTIMIZER = OptimizerConfig(name="adamw", learning_rate=1e-3)
_FEWEST_LEVELS, _MOST_LEVELS = 3, 256
_CANDIDATES = 40
# A matrix with a smaller share of the weights, such as the classifier of a small network, is not quantized.
_SMALLEST_SHARE = 0.01
_SMALLEST_STEP = 1e-12
_HALF_BITS = 16
_CPU = torch.device("cpu")


def quantize_as_small(
    comparison: Comparison,
    *,
    dataset: Path,
    seconds: float,
    architecture: str | None = None,
    device: torch.device = _CPU,
    seed: int = 0,
    on_progress: OnProgress = lambda progress: None,
) -> Alternative:
    """Apply this method to the original, with a time limit of `seconds` and the size of the encoding's file.

    `architecture` overrides the one that the encoding names. The number of levels is the largest whose size before
    training is at most that of the file; training changes the size a little. Raises `NernError` if the network or the
    data do not fit, and `diverged`.
    """
    known = architecture_of(comparison.encoding, architecture)
    preprocessing = dataset_preprocessing(dataset, known.preprocessing)
    teacher = Teacher(
        network=build_network(known, comparison.original.tensors, device),
        preprocessing=preprocessing,
        images=read_image_set(dataset, "train", preprocessing),
    )
    images = image_source(FAST.images, teacher, torch.Generator().manual_seed(seed))
    assert images is not None
    levels = levels_for(teacher.network, comparison.path.stat().st_size)

    def report_step(step: StepReport) -> None:
        clock = step.clock
        on_progress(
            Progress(
                phase=Phase.COMPARISON,
                step=clock.step,
                total=clock.total_steps,
                fraction=clock.fraction,
                loss=step.loss,
                steps_per_second=clock.step / clock.elapsed,
                seconds_left=clock.seconds_left,
            )
        )

    return quantize_directly(teacher, images, levels, Budget(seconds=seconds), report_step)


def quantize_directly(
    teacher: Teacher,
    images: ImageSource,
    levels: int,
    budget: Budget,
    on_step: Callable[[StepReport], None] = lambda step: None,
) -> Alternative:
    """Train the teacher's weights on `levels` levels within a budget. Raises `NernError` (`diverged`)."""
    state = teacher.network.state_dict(keep_vars=True)
    tied = _tied(state)
    quantized = _QuantizedWeights(_chosen(teacher.network, tied), levels).to(teacher.device)
    clock = Clock(budget)
    loss = _LogitDivergence(quantized, teacher, Student(teacher.network, tied=tied), images)
    train(loss, make_optimizers(_OPTIMIZER, quantized), clock, (0.0, 1.0), on_step, Snapshots())
    weights, bits = quantized.finished()
    others = {name: tensor for name, tensor in state.items() if name not in weights.keys() | tied.keys()}
    tensors = {name: _halved(tensor) for name, tensor in others.items()} | weights
    bits += sum(_HALF_BITS * tensor.numel() for tensor in others.values() if tensor.is_floating_point())
    return Alternative(
        name=DIRECT_QUANTIZATION,
        bytes=math.ceil(bits / 8),
        tensors={name: tensors[tied.get(name, name)] for name in state},
        seconds=round(clock.elapsed, 3),
    )


def levels_for(network: nn.Module, size: int) -> int:
    """Return the largest number of levels whose size before training is at most `size` bytes, 3 to 256."""
    state = network.state_dict(keep_vars=True)
    tied = _tied(state)
    chosen = _chosen(network, tied)
    others = sum(
        _HALF_BITS * tensor.numel()
        for name, tensor in state.items()
        if tensor.is_floating_point() and name not in chosen.keys() | tied.keys()
    )
    fits, too_many = _FEWEST_LEVELS, _MOST_LEVELS + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if _QuantizedWeights(chosen, middle).finished()[1] + others <= 8 * size:
            fits = middle
        else:
            too_many = middle
    return fits


class _QuantizedWeights(nn.Module):
    """Weights on levels, from `-(levels // 2)` steps up, with a learned step for each index of axis 0."""

    def __init__(self, weights: Mapping[str, Tensor], levels: int) -> None:
        super().__init__()
        self._low = -(levels // 2)
        self._high = self._low + levels - 1
        self._names = tuple(weights)
        originals = [weight.detach().float() for weight in weights.values()]
        self.weights = nn.ParameterList(nn.Parameter(weight.clone()) for weight in originals)
        self.steps = nn.ParameterList(nn.Parameter(self._least_squares_steps(weight)) for weight in originals)

    def forward(self) -> dict[str, Tensor]:
        """Return all weights by name, float32, with the gradients of LSQ."""
        parts = zip(self._names, self.weights, self.steps, strict=True)
        return {name: self._quantized(weight, step)[0] for name, weight, step in parts}

    @torch.no_grad()
    def finished(self) -> tuple[dict[str, Tensor], float]:
        """Return the weights decoded with fp16 steps, and their size in bits: the integers' entropy plus the steps."""
        tensors, bits = {}, 0.0
        for name, weight, step in zip(self._names, self.weights, self.steps, strict=True):
            tensors[name], integers = self._quantized(weight, step.half().float())
            bits += entropy_bits(integers) + _HALF_BITS * len(step)
        return tensors, bits

    def _quantized(self, weight: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the quantized weights and their integers."""
        step = steps.abs().clamp(min=_SMALLEST_STEP).view(-1, *[1] * (weight.ndim - 1))
        clamped = (weight / step).clamp(self._low, self._high)
        integers = clamped.round()
        return (clamped + (integers - clamped).detach()) * step, integers.detach()

    @torch.no_grad()
    def _least_squares_steps(self, weight: Tensor) -> Tensor:
        """Return the candidate step of each output channel with the least squared error."""
        largest = weight.flatten(1).abs().amax(dim=1)
        best, smallest = largest.clone(), torch.full_like(largest, torch.inf)
        for candidate in range(1, _CANDIDATES + 1):
            steps = largest * (2 * candidate / _CANDIDATES) / -self._low
            error = (self._quantized(weight, steps)[0] - weight).flatten(1).square().sum(dim=1)
            best, smallest = torch.where(error < smallest, steps, best), torch.minimum(error, smallest)
        return best


class _LogitDivergence(Loss):
    """The loss of a batch of images. Its state is that of the images and the weights."""

    def __init__(
        self,
        quantized: _QuantizedWeights,
        teacher: Teacher,
        student: Student,
        images: ImageSource,
    ) -> None:
        self._quantized = quantized
        self._teacher = teacher
        self._student = student
        self._images = images
        self.device = teacher.device

    def state(self) -> State:
        """Return an empty state."""
        return {}

    def restore(self, state: State) -> None:
        """Do nothing, because the state is empty."""

    def draw(self, fraction: float) -> Batch:
        """Draw images."""
        return Batch(tensors={"images": self._images.choose()})

    def compute(self, batch: Batch) -> Tensor:
        """Compute the divergence of the quantized network's logits from the teacher's."""
        inputs = self._images.inputs(*batch.tensors["images"])
        with mixed_precision(self.device):
            expected = self._teacher.logits(inputs)
            logits = self._student.logits(self._quantized(), inputs)
        return logit_divergence(logits, expected)


def _chosen(network: nn.Module, tied: Mapping[str, str]) -> dict[str, Tensor]:
    """Choose the weights to quantize. Raises `NernError` (`nothing_to_quantize`)."""
    parameters = {
        name: parameter
        for name, parameter in network.named_parameters(remove_duplicate=False)
        if name not in tied and parameter.numel()
    }
    fewest = _SMALLEST_SHARE * sum(parameter.numel() for parameter in parameters.values())
    chosen: dict[str, Tensor] = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.ndim > 2 or (parameter.ndim == 2 and parameter.numel() >= fewest)
    }
    if not chosen:
        raise NernError("nothing_to_quantize", "The network has neither convolutions nor matrices to quantize.")
    return chosen


def _tied(state: Mapping[str, Tensor]) -> dict[str, str]:
    # Networks are in channels-last memory format.
    return find_tied(
        {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
    )


def _halved(tensor: Tensor) -> Tensor:
    return tensor.detach().half().float() if tensor.is_floating_point() else tensor.detach()
