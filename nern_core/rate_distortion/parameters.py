"""What training changes where weights are quantized: real numbers that are rounded on the way to the weights."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from nern_core.codec.kept import RoundedTensor
from nern_core.kernels import KernelLayer, assemble, cut
from nern_core.quantized.grid import STEPS_PER_OCTAVE, exponents_of, exponents_of_logarithms, nearest_steps, step_of
from nern_core.quantized.layer import QuantizedLayer, quantized_layer

_LARGEST_BYTE = 127
_SMALLEST_STEP = 2.0**-40


class QuantizedParameters(nn.Module):
    """The represented layers in numbers of steps, the steps of their filters, and vectors in 8 bits.

    `log_steps` are real numbers, in octaves, but a step is always the one of the grid next to them: `latents` count
    those. Rounding passes gradients as if it were not there (straight through).
    """

    def __init__(
        self,
        layers: Sequence[KernelLayer],
        tensors: Mapping[str, Tensor],
        steps: Sequence[Tensor],
        vectors: Mapping[str, Tensor],
    ) -> None:
        """`steps` are the steps (F,) of each layer to start with; `vectors` the tensors to keep in 8 bits."""
        super().__init__()
        self.layers = tuple(layers)
        self.latents = nn.ParameterList(
            nn.Parameter(numbers_of_steps(tensors[layer.name], layer, nearest_steps(step)))
            for layer, step in zip(layers, steps, strict=True)
        )
        self.log_steps = nn.ParameterList(nn.Parameter(step.double().log2().float()) for step in steps)
        self._dtypes = {name: vector.dtype for name, vector in vectors.items()}
        self.vectors = nn.ParameterList(nn.Parameter(vector.detach().float()) for vector in vectors.values())

    def weights(self) -> dict[str, Tensor]:
        """All of these tensors by name, float32, as they will be decoded. Differentiable."""
        weights = {}
        for layer, latent, log_step in zip(self.layers, self.latents, self.log_steps, strict=True):
            weights[layer.name] = assemble(_rounded(latent) * _grid_steps(log_step)[:, None, None], layer)
        steps = _step(_byte_exponents(self.vectors).double())
        for name, vector, step in zip(self._dtypes, self.vectors, steps, strict=True):
            weights[name] = _rounded(vector / step) * step
        return weights

    @torch.no_grad()
    def enlarge_steps(self, octaves: float | Tensor) -> None:
        """Make all steps 2^octaves times as large, and the numbers of steps smaller: they are rounded anew.

        A change that is less than a cell of the grid adds up until a step reaches the next one.
        """
        for latent, log_step in zip(self.latents, self.log_steps, strict=True):
            before = _grid_steps(log_step)
            log_step.add_(octaves)
            latent.mul_((before / _grid_steps(log_step))[:, None, None])

    @torch.no_grad()
    def integers(self) -> list[Tensor]:
        """The integers of each layer, int32 (F, C, P)."""
        return [latent.round().to(torch.int32) for latent in self.latents]

    @property
    def device(self) -> torch.device:
        """Where they are."""
        first: Tensor = self.latents[0]
        return first.device

    @torch.no_grad()
    def quantized_layers(self, integers: Sequence[Tensor]) -> tuple[QuantizedLayer, ...]:
        """The layers with these integers, as they go into the file."""
        return tuple(
            quantized_layer(values.cpu(), exponents_of_logarithms(log_step).cpu(), layer)
            for values, log_step, layer in zip(integers, self.log_steps, self.layers, strict=True)
        )

    @torch.no_grad()
    def rounded_vectors(self) -> dict[str, RoundedTensor]:
        """The vectors as they go into the file, which gives them back in the dtypes that they came in."""
        rounded = {}
        exponents = _byte_exponents(self.vectors).tolist()
        for (name, dtype), vector, exponent in zip(self._dtypes.items(), self.vectors, exponents, strict=True):
            integers = (vector / step_of(exponent)).round().to(torch.int8).cpu()
            rounded[name] = RoundedTensor(integers, exponent, dtype)
        return rounded


def numbers_of_steps(tensor: Tensor, layer: KernelLayer, steps: Tensor) -> Tensor:
    """The kernels of a layer in steps of their filters, float32 (F, C, P); `steps` (F,) are on the grid.

    The quotient is taken in float64: neither huge nor tiny weights leave its range.
    """
    kernels = cut(tensor, layer, torch.float64).view(layer.filters, layer.channels, layer.kernel_values)
    return (kernels / steps.double()[:, None, None]).float()


@torch.no_grad()
def _byte_exponents(vectors: Iterable[Tensor]) -> Tensor:
    """Exponents of the smallest steps that 8-bit integers reach all values of each vector with, int32 (vectors,)."""
    magnitudes = [torch.linalg.vector_norm(vector, torch.inf) for vector in vectors]
    if not magnitudes:
        return torch.empty(0, dtype=torch.int32)
    largest = torch.stack(magnitudes).double().clamp(min=_LARGEST_BYTE * _SMALLEST_STEP)
    exponents = exponents_of(largest / _LARGEST_BYTE)
    return torch.where(largest / _step(exponents.double()) < _LARGEST_BYTE + 0.5, exponents, exponents + 1)


def _grid_steps(log_steps: Tensor) -> Tensor:
    """The steps of the grid next to these logarithms, as `grid.exponents_of_logarithms` has them; differentiable."""
    return _step(_rounded(log_steps * STEPS_PER_OCTAVE))


def _step(exponent: Tensor) -> Tensor:
    """The steps of exponents, differentiable and nearly what they are in the file, see `grid.step_of`."""
    return torch.exp2(exponent / STEPS_PER_OCTAVE)


class _StraightThrough(torch.autograd.Function):
    """Rounds, and passes gradients on as if it did not."""

    @staticmethod
    def forward(context: FunctionCtx, values: Tensor) -> Tensor:
        return values.round()

    @staticmethod
    def backward(context: FunctionCtx, gradient: Tensor) -> Tensor:
        return gradient


def _rounded(values: Tensor) -> Tensor:
    rounded: Tensor = _StraightThrough.apply(values)  # type: ignore[no-untyped-call] # torch says nothing of it
    return rounded
