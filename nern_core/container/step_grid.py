"""The grid of quantization steps for tensors: their exponents, and the steps of exponents (see `codec.steps`)."""

import torch
from torch import Tensor

from nern_core.codec import steps as grid
from nern_core.codec.steps import LARGEST_EXPONENT, SMALLEST_STEP, STEPS_PER_OCTAVE, step_of

__all__ = [
    "LARGEST_EXPONENT",
    "SMALLEST_STEP",
    "STEPS_PER_OCTAVE",
    "exponents_of",
    "exponents_of_logarithms",
    "nearest_steps",
    "step_of",
    "steps_of",
]


def steps_of(exponents: Tensor) -> Tensor:
    """Return the steps of exponents int32 (n,): float64 (n,)."""
    return torch.from_numpy(grid.steps_of(exponents.numpy()))


def approximate_steps(exponents: Tensor) -> Tensor:
    """Return almost the steps of exponents in the file, on the exponents' device and in their dtype."""
    return torch.exp2(exponents / STEPS_PER_OCTAVE)


def exponents_of(steps: Tensor) -> Tensor:
    """Return the exponents of the nearest steps of the grid, for positive numbers (n,): int32 (n,)."""
    return exponents_of_logarithms(steps.double().log2())


def exponents_of_logarithms(log_steps: Tensor) -> Tensor:
    """Return the exponents of the nearest steps of the grid, int32, for logarithms of steps in octaves.

    Only this function rounds steps, so that all parts of the program use the same ones.
    """
    return (log_steps * STEPS_PER_OCTAVE).round().clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT).to(torch.int32)


def nearest_steps(steps: Tensor) -> Tensor:
    """Round positive numbers (n,) on the CPU to the nearest steps of the grid: float64 (n,)."""
    return steps_of(exponents_of(steps))
