"""The description of a represented tensor. Torch-free."""

import math
from dataclasses import dataclass
from typing import Literal

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
