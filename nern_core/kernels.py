"""Which tensors are represented, and how they are cut into kernels with coordinates and put back.

A convolution weight of shape F x C x H x W is F*C kernels of H*W values. Kernel (f, c) of the l-th
represented layer has the coordinate (l, f, c), in raster order with c fastest (paper, section 3.1).
Every other tensor of the checkpoint is kept as it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, get_args

import torch
from torch import Tensor

from nern_core.checkpoint_structure import is_kernel_shape, no_kernels

WeightDtype = Literal["float16", "bfloat16", "float32", "float64"]


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelLayer:
    """One represented tensor: its name, its shape F x C x H x W and the dtype that it is stored in."""

    name: str
    filters: int
    channels: int
    height: int
    width: int
    dtype: WeightDtype

    @property
    def kernels(self) -> int:
        """Number of kernels, F*C."""
        return self.filters * self.channels

    @property
    def kernel_shape(self) -> tuple[int, int]:
        """Spatial size (H, W) of each kernel."""
        return self.height, self.width

    @property
    def weights(self) -> int:
        """Number of scalars, F*C*H*W."""
        return self.kernels * self.height * self.width


def kernel_layers(tensors: Mapping[str, Tensor], order: Iterable[str] | None = None) -> tuple[KernelLayer, ...]:
    """List the tensors to represent: floating-point convolution weights of spatial size 2x2 and larger.

    `order` gives the names in network order where the architecture is known; the default is the order
    of `tensors`. Raises `NernError` (`no_kernels`) if there is none.
    """
    layers = tuple(
        KernelLayer(
            name=name,
            filters=tensor.shape[0],
            channels=tensor.shape[1],
            height=tensor.shape[2],
            width=tensor.shape[3],
            dtype=_dtype_name(tensor),
        )
        for name, tensor in ((name, tensors[name]) for name in (tensors if order is None else order))
        if is_kernel_shape(tuple(tensor.shape)) and _dtype_name(tensor) in get_args(WeightDtype)
    )
    if not layers:
        raise no_kernels()
    return layers


def cut(tensor: Tensor) -> Tensor:
    """Cut a weight F x C x H x W into its kernels, float32 of shape (F*C) x (H*W), in raster order."""
    return tensor.detach().to(torch.float32).flatten(0, 1).flatten(1)


def assemble(kernels: Tensor, layer: KernelLayer) -> Tensor:
    """Put (F*C) x (H*W) kernels in raster order back into a weight F x C x H x W of the same dtype."""
    return kernels.view(layer.filters, layer.channels, layer.height, layer.width)


def by_kernel_shape(layers: Iterable[KernelLayer]) -> dict[tuple[int, int], tuple[int, ...]]:
    """Group layer indices by kernel shape (H, W): the predictor has one head for each group."""
    shape_of = sorted(enumerate(layers), key=lambda item: (item[1].kernel_shape, item[0]))
    return {
        shape: tuple(index for index, _ in group)
        for shape, group in groupby(shape_of, key=lambda item: item[1].kernel_shape)
    }


def _dtype_name(tensor: Tensor) -> WeightDtype:
    return str(tensor.dtype).removeprefix("torch.")  # type: ignore[return-value] # checked by the caller
