"""Represented tensors: cut them into kernels with coordinates, and assemble kernels into tensors.

A convolution weight of shape F x C x H x W is F*C kernels of H*W values; kernel (f, c) of the l-th represented layer
has the coordinate (l, f, c), in raster order with c fastest (paper, section 3.1). Convolutions of one and three
dimensions are the same with other kernel axes. Depthwise ones have C = 1, grouped ones C = inputs / groups. torch
stores a transposed convolution with its inputs on axis 0: there f counts inputs and c outputs.

A matrix F x N is F * ceil(N / tile) kernels of `tile` values each; c counts tiles along the input axis. All other
tensors are kept unchanged.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from nern_core.contract.kernel_policy import SPATIAL, choose_tensors
from nern_core.formats.tensor_claims import LARGEST_SIZE, is_shape

WeightDtype = Literal["float16", "bfloat16", "float32", "float64"]


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelLayer:
    """A represented tensor: its name, shape and stored dtype.

    `tile` is the number of inputs per tile of a matrix, None for spatial kernels. A tensor of any other shape that has
    a `tile` is treated as a matrix of its axis 0 by the rest.
    """

    name: str
    shape: tuple[int, ...]
    tile: int | None
    dtype: WeightDtype

    def __post_init__(self) -> None:
        tile = 1 if self.tile is None else self.tile
        fewest = 3 if self.tile is None else 2
        if not is_shape(self.shape, LARGEST_SIZE) or tile > LARGEST_SIZE:
            raise ValueError("no tensor has this shape or tile")
        if len(self.shape) < fewest or min(*self.shape, tile) < 1:
            raise ValueError(f"a tensor of shape {self.shape} has no kernels")

    @property
    def filters(self) -> int:
        """Return the size of the filter coordinate: axis 0."""
        return self.shape[0]

    @property
    def channels(self) -> int:
        """Return the size of the channel coordinate: axis 1 or, for a matrix, the tiles of each row."""
        return self.shape[1] if self.tile is None else -(-self.inputs // self.tile)

    @property
    def inputs(self) -> int:
        """Return the number of scalars of one filter."""
        return math.prod(self.shape[1:])

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Return the shape of each kernel, for example (3, 3), (5,) or (16,) for tiles of 16."""
        return self.shape[2:] if self.tile is None else (self.tile,)

    @property
    def kernel_values(self) -> int:
        """Return the number of scalars of one kernel."""
        return math.prod(self.kernel_shape)

    @property
    def kernels(self) -> int:
        """Return the number of kernels."""
        return self.filters * self.channels

    @property
    def weights(self) -> int:
        """Return the number of scalars of the tensor."""
        return math.prod(self.shape)

    @property
    def head(self) -> str:
        """Return the name of the output head that predicts these kernels, for example `3x3`, `5` or `tile16`."""
        return "x".join(map(str, self.kernel_shape)) if self.tile is None else f"tile{self.tile}"


def select_layers(
    tensors: Mapping[str, Tensor],
    kernels: Sequence[str] = (SPATIAL,),
    hidden_size: int | None = None,
    *,
    kernels_per_coordinate: int = 1,
    order: Iterable[str] | None = None,
    tied: Mapping[str, str] | None = None,
) -> tuple[KernelLayer, ...]:
    """Choose the tensors to represent by the policy `kernels`, for a predictor of this hidden size (None: default).

    `order` gives the names in network order if the architecture is known; the default is the order of `tensors`. Of
    `tied` tensors (repeated by repeating, see `checkpoint.find_tied`) only the repeated one is listed. Raises
    `NernError` (`no_kernels`, `unmatched_pattern`).
    """
    shapes = {
        name: tuple(tensors[name].shape)
        for name in (tensors if order is None else order)
        if _dtype_name(tensors[name]) in get_args(WeightDtype)
    }
    others: Counter[str] = Counter()
    for name, tensor in tensors.items():
        if name not in shapes and tensor.ndim > 1:
            others[_dtype_name(tensor)] += tensor.numel()
    chosen = choose_tensors(shapes, kernels, hidden_size, kernels_per_coordinate, dict(others.most_common(1)))
    tiles = {(tied or {}).get(name, name): tile for name, tile in chosen.items()}
    return tuple(
        KernelLayer(name=name, shape=shapes[name], tile=tile, dtype=_dtype_name(tensors[name]))
        for name, tile in tiles.items()
    )


def cut(tensor: Tensor, layer: KernelLayer, dtype: torch.dtype = torch.float32) -> Tensor:
    """Cut a tensor into its kernels, (kernels, kernel values) of this dtype, in raster order.

    The last tile of each row is padded with zeros.
    """
    rows = tensor.detach().to(dtype).reshape(layer.filters, layer.inputs)
    padding = layer.channels * layer.kernel_values - layer.inputs
    return F.pad(rows, (0, padding)).reshape(layer.kernels, layer.kernel_values)


def assemble(kernels: Tensor, layer: KernelLayer) -> Tensor:
    """Assemble kernels (kernels, kernel values) in raster order into a tensor of the layer's shape. Differentiable."""
    return kernels.reshape(layer.filters, -1)[:, : layer.inputs].reshape(layer.shape)


def by_head(layers: Iterable[KernelLayer]) -> dict[str, tuple[int, ...]]:
    """Group layer indices by output head, sorted by its name."""
    indices: dict[str, list[int]] = {}
    for index, layer in enumerate(layers):
        indices.setdefault(layer.head, []).append(index)
    return {head: tuple(found) for head, found in sorted(indices.items())}


def _dtype_name(tensor: Tensor) -> WeightDtype:
    return str(tensor.dtype).removeprefix("torch.")  # type: ignore[return-value] # checked by the caller
