"""The choice between compiled loops and NumPy alone. Both write the same bytes and decode to the same bits."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from nern_core.codec.distributions import CodingTables
from nern_core.codec.layers import ClassedIntegers, Integers, WeightType
from nern_core.codec.packed_layer import PackedLayer

# NumPy alone takes half a second for these; compiling takes ten seconds at the first use.
_FEWEST_COMPILED: Final = 1 << 19


class Backend(Protocol):
    """The operations on integers that take long."""

    def count_levels(self, part: ClassedIntegers, shifts: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Count the levels of integers by class: (64, 256)."""

    def encode(self, parts: Sequence[ClassedIntegers], coding: CodingTables, /) -> list[list[bytes]]:
        """Return the bytes of the lanes of each part."""

    def decode_integers(self, layers: Sequence[PackedLayer], /) -> list[Integers]:
        """Return the integers of each layer, (F, C, P). Raises `NernError` (`bad_encoding`)."""

    def decode_weights(
        self, layers: Sequence[PackedLayer], weight_types: Sequence[WeightType], /
    ) -> list[NDArray[np.generic]]:
        """Return the weights of each layer, (F, C, P). Raises `NernError` (`bad_encoding`)."""


def backend_for(integers: int) -> Backend:
    """Return the backend for this number of integers: for few, loading or compiling loops would take longer."""
    return numpy_backend() if integers < _FEWEST_COMPILED else fastest_backend()


@lru_cache(maxsize=1)
def fastest_backend() -> Backend:
    """Return the compiled loops if numba is installed."""
    if find_spec("numba") is None:
        return numpy_backend()
    from nern_core.codec import compiled

    return compiled


def numpy_backend() -> Backend:
    """Return the backend that needs NumPy alone."""
    from nern_core.codec import vectorized

    return vectorized
