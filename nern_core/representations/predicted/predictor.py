"""The predictor: a multilayer perceptron from a kernel's coordinate to its weights (paper, section 3.1).

The first layer is linear in three independent codes, so its product is *separable*:

    W [code(l); code(f); code(c)] + b  =  table_l[l] + table_f[f] + table_c[c],

one small table per axis instead of a 240-wide product for every kernel.

Connections between the layers are `plain`, `skip` or `residual`. With `skip`, as in NeRF, the layer halfway gets the
code again, W [h; code], which is separable, too. With `residual`, every hidden layer adds to its input.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.predicted.embedding import Encoding, PositionalEncoding, encode_axes
from nern_core.tensors.kernels import by_head

Activation = Literal["relu", "gelu", "silu", "sine"]
Connections = Literal["plain", "skip", "residual"]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "sine": torch.sin,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorVariant:
    """The architecture of a predictor, except its width. The published one has five linear layers and ReLU."""

    linear_layers: Annotated[int, Field(ge=3, le=64)] = 5
    activation: Activation = "relu"
    connections: Connections = "plain"
    encoding: Encoding = field(default_factory=PositionalEncoding)


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorConfig:
    """The shape of a predictor."""

    hidden_size: Annotated[int, Field(ge=1, le=2**16)]
    variant: PredictorVariant = PredictorVariant()


@dataclass(frozen=True, slots=True)
class FilterSpan:
    """The filter coordinates `start` to `stop` (exclusive) of layer `layer`, with all channels of each."""

    layer: int
    start: int
    stop: int

    def kernels_of(self, layer: KernelLayer) -> int:
        """Return the number of kernels in this span of `layer`."""
        return (self.stop - self.start) * layer.channels


def filter_spans(index: int, layer: KernelLayer, most_kernels: int) -> list[FilterSpan]:
    """Cut a layer into runs of whole filters with at most `most_kernels` kernels, at least one filter each."""
    filters = max(1, most_kernels // layer.channels)
    return [FilterSpan(index, start, min(start + filters, layer.filters)) for start in range(0, layer.filters, filters)]


def parameter_shapes(config: PredictorConfig, layers: Sequence[KernelLayer]) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a predictor's parameters, in their order, without making one."""
    first, hidden, heads = _sizes(config, layers)
    sizes = {"first": first}
    sizes |= {f"hidden.{index}": size for index, size in enumerate(hidden)}
    sizes |= {f"heads.{head}": size for head, size in heads.items()}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (inputs, outputs) in sizes.items():
        shapes |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
    return shapes


class Predictor(nn.Module):
    """Predicts the kernels of `layers`; one trunk, and one output head per kernel shape.

    Coordinates are integers (l, f, c). Outputs have one column per value of a kernel and the dtype of the parameters.
    """

    def __init__(self, config: PredictorConfig, layers: Sequence[KernelLayer]) -> None:
        super().__init__()
        self.config = config
        self.layers = tuple(layers)
        variant = config.variant
        self.activation = _ACTIVATIONS[variant.activation]
        first, hidden, heads = _sizes(config, layers)
        self.first = nn.Linear(*first)
        self.hidden = nn.ModuleList(nn.Linear(*size) for size in hidden)
        self.heads = nn.ModuleDict({head: nn.Linear(*size) for head, size in heads.items()})
        if variant.activation == "sine":
            _keep_sines_spread(self.first, *self.hidden)
        axes = encode_axes(variant.encoding, [(layer.filters, layer.channels) for layer in layers])
        for name, axis in zip(("layer", "filter", "channel"), axes, strict=True):
            # float64 until used, and not stored in the file, because the configuration determines it.
            self.register_buffer(f"{name}_codes", axis.codes, persistent=False)
        self._starts = list(zip(axes[1].starts, axes[2].starts, strict=True))
        self.register_buffer("starts", torch.tensor(self._starts, dtype=torch.int32), persistent=False)

    @property
    def halfway(self) -> int:
        """Return the index of the hidden layer that gets the code again, with `skip`."""
        return self.config.variant.linear_layers // 2 - 1

    def at(self, coordinates: Tensor, head: str) -> Tensor:
        """Predict single kernels: coordinates int64 (n, 3) of one kernel shape -> (n, kernel values)."""
        layer, filter_, channel = coordinates.unbind(dim=1)
        by_layer, by_filter, by_channel = self.tables()
        filter_start, channel_start = self.get_buffer("starts")[layer].unbind(dim=1)
        features = (
            F.embedding(layer, by_layer)
            + F.embedding(filter_start + filter_, by_filter)
            + F.embedding(channel_start + channel, by_channel)
        )
        return self._tail(features, head)

    def of_filters(self, spans: Iterable[FilterSpan], head: str) -> Tensor:
        """Predict runs of filters of one kernel shape, in raster order, concatenated: (kernels, kernel values)."""
        tables = self.tables()
        features = []
        for span in spans:
            filters, channels = self.rows_of(span, tables)
            features.append((filters[:, None] + channels[None]).flatten(0, 1))
        return self._tail(torch.cat(features), head)

    def rows_of(self, span: FilterSpan, tables: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return rows whose sums are the first layer's products of a run: of layer and filter, and of channel."""
        by_layer, by_filter, by_channel = tables
        filter_start, channel_start = self._starts[span.layer]
        filters = by_filter[filter_start + span.start : filter_start + span.stop]
        return by_layer[span.layer] + filters, by_channel[channel_start:][: self.layers[span.layer].channels]

    def tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the first layer's products of every coordinate value, one table (values x hidden) per axis."""
        by_layer, by_filter, by_channel = self.first.weight.chunk(3, dim=1)
        return (
            F.linear(self.get_buffer("layer_codes").to(by_layer), by_layer, self.first.bias),
            F.linear(self.get_buffer("filter_codes").to(by_filter), by_filter),
            F.linear(self.get_buffer("channel_codes").to(by_channel), by_channel),
        )

    def _tail(self, features: Tensor, head: str) -> Tensor:
        """Apply the later layers to the first product, (n, hidden) or with `skip` (n, 2 * hidden); return kernels."""
        variant = self.config.variant
        code, *again = features.split(self.config.hidden_size, dim=1)
        features = self.activation(code)
        for index, layer in enumerate(self.hidden):
            product = layer(features)
            if again and index == self.halfway:
                product = product + again[0]
            output = self.activation(product)
            features = features + output if variant.connections == "residual" else output
        kernels: Tensor = self.heads[head](features)
        return kernels


def _sizes(
    config: PredictorConfig, layers: Sequence[KernelLayer]
) -> tuple[tuple[int, int], list[tuple[int, int]], dict[str, tuple[int, int]]]:
    """Return inputs and outputs of the first linear layer, of the hidden ones, and of the head of each kernel shape."""
    variant, width = config.variant, config.hidden_size
    # With `skip`, the first layer's outputs beyond `width` are the code's contribution to the layer halfway.
    first = 3 * variant.encoding.size, 2 * width if variant.connections == "skip" else width
    hidden = [(width, width)] * (variant.linear_layers - 2)
    heads = {head: (width, layers[indices[0]].kernel_values) for head, indices in by_head(layers).items()}
    return first, hidden, heads


def _keep_sines_spread(*layers: nn.Module) -> None:
    """Initialize as SIREN does (Sitzmann et al., 2020): the inputs of every sine have about unit variance.

    Its factor 30 is left out, because the code already contains high frequencies.
    """
    for layer in layers:
        assert isinstance(layer, nn.Linear)
        bound = math.sqrt(6 / layer.in_features)
        nn.init.uniform_(layer.weight, -bound, bound)
