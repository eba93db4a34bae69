"""Trainable parameters of quantized weights: real numbers that are rounded to compute the weights."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from nern_core.codec.layers import CodedLayer
from nern_core.container.kept import Kept
from nern_core.container.step_grid import STEPS_PER_OCTAVE, approximate_steps
from nern_core.representations.quantized.coded_layer import coded_layer
from nern_core.representations.quantized.kernel_frequencies import kernels_of
from nern_core.representations.quantized.scaled_layer import ScaledLayer, values_of
from nern_core.representations.quantized.step_tables import StepTables
from nern_core.representations.quantized.vector_rounding import largest_magnitudes, rounded_vectors, vector_steps


class QuantizedParameters(nn.Module):
    """The represented layers in numbers of steps, their steps, and vectors in 8 or 12 bits.

    `latents` are kernels or their frequencies, float32 (F, C, P), in the steps of the grid. A step is the product of
    one for each filter, channel and position: their logarithms, real numbers in octaves, are `filter_steps` (F,),
    `channel_steps` (C,) and `position_steps` (P,) of each layer, each rounded to the grid for use. Steps have no
    gradients: the next step of the grid would change all weights of a filter by 9 %. Rounding passes gradients to the
    latents and vectors unchanged (straight through). `reached` is True for each filter of all layers that a gradient of
    the weights has reached so far. `fine` is True for each vector in 12 bits. `vectors` are divided by `scales`,
    float32 (vectors,), their largest magnitudes, so that one learning rate suits all.
    """

    reached: Tensor
    fine: Tensor
    scales: Tensor

    def __init__(
        self, layers: Sequence[ScaledLayer], vectors: Mapping[str, Tensor], fine: frozenset[str] = frozenset()
    ) -> None:
        """`layers` are the initial weights and steps; `vectors` are kept in 8 bits, those in `fine` in 12."""
        super().__init__()
        self.layers = tuple(scaled.layer for scaled in layers)
        self._transformed = tuple(scaled.is_transformed for scaled in layers)
        self.latents = nn.ParameterList(nn.Parameter(scaled.latents.float()) for scaled in layers)
        self.filter_steps = nn.ParameterList(_fixed(scaled.tables.filters.float()) for scaled in layers)
        self.channel_steps = nn.ParameterList(_fixed(scaled.tables.channels.float()) for scaled in layers)
        self.position_steps = nn.ParameterList(_fixed(scaled.tables.positions.float()) for scaled in layers)
        filters = sum(layer.filters for layer in self.layers)
        self.register_buffer("reached", torch.zeros(filters, dtype=torch.bool))
        self.register_buffer("fine", torch.tensor([name in fine for name in vectors], dtype=torch.bool))
        self._dtypes = {name: vector.dtype for name, vector in vectors.items()}
        real = [vector.detach().float() for vector in vectors.values()]
        self.register_buffer("scales", _scales_of(real))
        self.vectors = nn.ParameterList(
            nn.Parameter(vector / scale) for vector, scale in zip(real, self.scales, strict=True)
        )

    def weights(self) -> dict[str, Tensor]:
        """Return all of these tensors by name, float32, as they will be decoded. Differentiable."""
        weights = {}
        reached_by_layer = self._reached_by_layer()
        for index, layer in enumerate(self.layers):
            kernels = _rounded(self.latents[index]) * self._steps(index)
            if self._transformed[index]:
                kernels = kernels_of(kernels, layer.kernel_shape)
            weight = kernels.reshape(layer.shape)
            if weight.requires_grad:
                weight.register_hook(partial(_mark, reached_by_layer[index]))
            weights[layer.name] = weight
        vectors = self._real_vectors()
        steps = vector_steps(vectors, self.fine).float()
        for name, vector, step in zip(self._dtypes, vectors, steps, strict=True):
            weights[name] = _rounded(vector / step) * step
        return weights

    def _real_vectors(self) -> list[Tensor]:
        return [vector * scale for vector, scale in zip(self.vectors, self.scales, strict=True)]

    def _steps(self, index: int) -> Tensor:
        """Return the steps of a layer, (F, C, P)."""
        filters, channels, positions = (
            _grid_steps(of_layers[index]) for of_layers in (self.filter_steps, self.channel_steps, self.position_steps)
        )
        return filters[:, None, None] * channels[:, None] * positions

    def priced(self) -> list[Tensor]:
        """Return the numbers of steps of each layer, differentiable where a gradient of the weights has reached them.

        The loss says nothing about the other filters: a price of their bits alone would shrink them to zero.
        """
        return [
            torch.where(reached[:, None, None], latent, latent.detach())
            for latent, reached in zip(self.latents, self._reached_by_layer(), strict=True)
        ]

    @torch.no_grad()
    def restore_unreached(self, tensors: Mapping[str, Tensor]) -> None:
        """After some training, round the original weights of filters that no gradient has reached.

        The steps of channels and positions, which they share with others, have changed.
        """
        if not bool(self.reached.any()):
            return
        for index, (layer, reached) in enumerate(zip(self.layers, self._reached_by_layer(), strict=True)):
            rows = ~reached.cpu()
            if bool(rows.any()):
                values = values_of(tensors[layer.name], layer, is_transformed=self._transformed[index])
                latents = (values[rows] / self._tables(index).steps()[rows]).float()
                self.latents[index][rows.to(self.device)] = latents.to(self.device)

    def unreached(self) -> dict[str, int]:
        """Count the filters of each layer that no gradient has reached, if there are any."""
        parts = zip(self.layers, self._reached_by_layer(), strict=True)
        counts = {layer.name: layer.filters - int(reached.sum()) for layer, reached in parts}
        return {name: count for name, count in counts.items() if count}

    def _reached_by_layer(self) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = self.reached.split([layer.filters for layer in self.layers])
        return parts

    @torch.no_grad()
    def enlarge_steps(self, octaves: float | Tensor) -> None:
        """Multiply all steps by 2^octaves, and divide the numbers of steps accordingly; they are then rounded again.

        Changes smaller than a cell of the grid add up until a step reaches the next one.
        """
        for latent, log_step in zip(self.latents, self.filter_steps, strict=True):
            before = _grid_steps(log_step)
            log_step.add_(octaves)
            latent.mul_((before / _grid_steps(log_step))[:, None, None])

    @torch.no_grad()
    def integers(self) -> list[Tensor]:
        """Return the integers of each layer, int32 (F, C, P)."""
        return [latent.round().to(torch.int32) for latent in self.latents]

    @property
    def device(self) -> torch.device:
        """Return the device of the parameters."""
        first: Tensor = self.latents[0]
        return first.device

    @torch.no_grad()
    def quantized_layers(self, integers: Sequence[Tensor]) -> tuple[CodedLayer, ...]:
        """Return the layers with these integers, as stored in the file."""
        return tuple(
            coded_layer(values.cpu(), self._tables(index).exponents(), layer, is_transformed=self._transformed[index])
            for index, (values, layer) in enumerate(zip(integers, self.layers, strict=True))
        )

    def _tables(self, index: int) -> StepTables:
        tables = (self.filter_steps, self.channel_steps, self.position_steps)
        return StepTables(*(of_layers[index].detach().double().cpu() for of_layers in tables))

    @torch.no_grad()
    def rounded_vectors(self) -> dict[str, Kept]:
        """Return the vectors as stored in the file; they decode to their original dtypes."""
        fine = frozenset(name for name, is_fine in zip(self._dtypes, self.fine.tolist(), strict=True) if is_fine)
        return rounded_vectors(dict(zip(self._dtypes, self._real_vectors(), strict=True)), self._dtypes, fine)


def _scales_of(vectors: Sequence[Tensor]) -> Tensor:
    """Return the largest magnitude of each vector, float32 (vectors,); of zeros, the smallest one of the others."""
    largest = largest_magnitudes(vectors).float()
    others = largest[largest > 0]
    return torch.where(largest > 0, largest, others.min() if len(others) else 1.0)


def _mark(reached: Tensor, gradient: Tensor) -> None:
    """Mark the filters of a layer to which a gradient of its tensor is finite and not zero, in place."""
    known = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    reached.logical_or_((known.reshape(len(reached), -1) != 0).any(dim=1))


def _fixed(values: Tensor) -> nn.Parameter:
    """Return a parameter that moves between devices with the others, but is not trained."""
    return nn.Parameter(values, requires_grad=False)


def _grid_steps(log_steps: Tensor) -> Tensor:
    """Return the grid's nearest steps to these logarithms, almost equal to those in the file."""
    return approximate_steps((log_steps * STEPS_PER_OCTAVE).round())


class _StraightThrough(torch.autograd.Function):
    """Rounds values and passes gradients through unchanged."""

    @staticmethod
    def forward(context: FunctionCtx, values: Tensor) -> Tensor:
        return values.round()

    @staticmethod
    def backward(context: FunctionCtx, gradient: Tensor) -> Tensor:
        return gradient


def _rounded(values: Tensor) -> Tensor:
    rounded: Tensor = _StraightThrough.apply(values)  # type: ignore[no-untyped-call] # untyped in torch
    return rounded
