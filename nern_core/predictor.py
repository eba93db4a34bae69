"""The predictor: a multilayer perceptron from a kernel's coordinate to its weights (paper, section 3.1).

The first layer is linear in three independent codes, so its product is *separable*:
    W [code(l); code(f); code(c)] + b  =  table_l[l] + table_f[f] + table_c[c],
one small table per axis instead of a 240-wide product for every kernel.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nern_core.embedding import positional_encoding
from nern_core.kernels import KernelLayer, by_head

Activation = Literal["relu", "gelu", "silu"]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorConfig:
    """Shape of a predictor. The published one has five linear layers, ReLU, 40 levels and base 0.76."""

    hidden_size: int
    linear_layers: int = 5
    activation: Activation = "relu"
    levels: int = 40
    base: float = 0.76


@dataclass(frozen=True, slots=True)
class FilterSpan:
    """The filter coordinates `start` to `stop` (exclusive) of layer `layer`, all channels of each."""

    layer: int
    start: int
    stop: int


def filter_spans(index: int, layer: KernelLayer, most_kernels: int) -> list[FilterSpan]:
    """Cut a layer into runs of whole filters with at most so many kernels, at least one filter each."""
    filters = max(1, most_kernels // layer.channels)
    return [FilterSpan(index, start, min(start + filters, layer.filters)) for start in range(0, layer.filters, filters)]


class Predictor(nn.Module):
    """Predicts the kernels of `layers`; one trunk, one output head for each kernel shape.

    Coordinates are integers (l, f, c). Outputs have one column per value of a kernel and the dtype of the parameters.
    """

    def __init__(self, config: PredictorConfig, layers: Sequence[KernelLayer]) -> None:
        super().__init__()
        width = config.hidden_size
        self.config = config
        self.layers = tuple(layers)
        self.activation = _ACTIVATIONS[config.activation]
        self.first = nn.Linear(6 * config.levels, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(config.linear_layers - 2))
        self.heads = nn.ModuleDict(
            {head: nn.Linear(width, layers[indices[0]].kernel_values) for head, indices in by_head(layers).items()}
        )
        sizes = (len(layers), max(x.filters for x in layers), max(x.channels for x in layers))
        for axis, size in zip(("layer", "filter", "channel"), sizes, strict=True):
            codes = positional_encoding(torch.arange(size), levels=config.levels, base=config.base)
            # float64 until it is used, and not stored in the file: it follows from the configuration.
            self.register_buffer(f"{axis}_codes", codes, persistent=False)

    def at(self, coordinates: Tensor, head: str) -> Tensor:
        """Predict single kernels: coordinates int64 (n, 3) of one kernel shape -> (n, kernel values)."""
        layer, filter_, channel = coordinates.unbind(dim=1)
        by_layer, by_filter, by_channel = self._tables()
        features = F.embedding(layer, by_layer) + F.embedding(filter_, by_filter) + F.embedding(channel, by_channel)
        return self._tail(features, head)

    def of_filters(self, spans: Iterable[FilterSpan], head: str) -> Tensor:
        """Predict runs of filters of one kernel shape, in raster order, concatenated: (kernels, kernel values)."""
        by_layer, by_filter, by_channel = self._tables()
        features = [
            (by_layer[span.layer] + by_filter[span.start : span.stop, None] + by_channel[None, :channels]).flatten(0, 1)
            for span, channels in ((span, self.layers[span.layer].channels) for span in spans)
        ]
        return self._tail(torch.cat(features), head)

    def _tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """First-layer products of every coordinate value, one table (values x hidden) per axis."""
        by_layer, by_filter, by_channel = self.first.weight.chunk(3, dim=1)
        return (
            F.linear(self.get_buffer("layer_codes").to(by_layer), by_layer, self.first.bias),
            F.linear(self.get_buffer("filter_codes").to(by_filter), by_filter),
            F.linear(self.get_buffer("channel_codes").to(by_channel), by_channel),
        )

    def _tail(self, features: Tensor, head: str) -> Tensor:
        features = self.activation(features)
        for layer in self.hidden:
            features = self.activation(layer(features))
        kernels: Tensor = self.heads[head](features)
        return kernels
