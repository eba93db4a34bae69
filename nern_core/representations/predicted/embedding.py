"""Encodings of kernel coordinates: the paper's sinusoids, or random Fourier features scaled to the layer's size.

Both encode layer, filter and channel separately, so that the predictor's first layer is a sum of table rows. Codes are
computed in float64, so that they do not depend on the device.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class PositionalEncoding:
    """Sinusoids of falling frequencies, the same in every layer (paper, section 3.1; the published settings)."""

    kind: Literal["positional"] = "positional"
    levels: Annotated[int, Field(ge=1, le=1024)] = 40
    # Larger bases overflow at the last level.
    base: Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)] = 0.76

    @property
    def size(self) -> int:
        """Return the length of the code of one coordinate."""
        return 2 * self.levels


@dataclass(frozen=True, kw_only=True, slots=True)
class FourierEncoding:
    """Random Fourier features (after SBS, arXiv 2509.07373): the larger a layer, the higher its frequencies.

    With coordinates normalized to [0, 1), the frequencies of a layer of n kernels are normal with the deviation
    `bandwidth` * sqrt(n) cycles, because such a layer has sqrt(n) points in each of its two dimensions. Those of the
    layer coordinate have the deviation `bandwidth` * number of layers. They are drawn once from `seed`.
    """

    kind: Literal["fourier"] = "fourier"
    frequencies: Annotated[int, Field(ge=1, le=1024)] = 40
    bandwidth: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.3
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def size(self) -> int:
        """Return the length of the code of one coordinate."""
        return 2 * self.frequencies


Encoding = Annotated[PositionalEncoding | FourierEncoding, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class AxisCodes:
    """Codes along one axis, float64 (rows, size); coordinate 0 of layer l is in row `starts[l]`."""

    codes: Tensor
    starts: tuple[int, ...]


def encode_axes(
    encoding: PositionalEncoding | FourierEncoding, sizes: Sequence[tuple[int, int]]
) -> tuple[AxisCodes, AxisCodes, AxisCodes]:
    """Encode all layer, filter and channel coordinates. `sizes` are the filters and channels of each layer."""
    if isinstance(encoding, PositionalEncoding):
        return _positional_axes(encoding, sizes)
    return _fourier_axes(encoding, sizes)


def _positional_axes(
    encoding: PositionalEncoding, sizes: Sequence[tuple[int, int]]
) -> tuple[AxisCodes, AxisCodes, AxisCodes]:
    def axis(size: int) -> AxisCodes:
        codes = positional_encoding(torch.arange(size), levels=encoding.levels, base=encoding.base)
        return AxisCodes(codes, (0,) * len(sizes))

    return axis(len(sizes)), axis(max(filters for filters, _ in sizes)), axis(max(channels for _, channels in sizes))


def _fourier_axes(
    encoding: FourierEncoding, sizes: Sequence[tuple[int, int]]
) -> tuple[AxisCodes, AxisCodes, AxisCodes]:
    # numpy's generator, because its stream is the same in every version.
    normal = np.random.Generator(np.random.PCG64(encoding.seed)).standard_normal((3, encoding.frequencies))
    of_layer, of_filter, of_channel = encoding.bandwidth * torch.tensor(normal.tolist(), dtype=torch.float64)
    points = [math.sqrt(filters * channels) for filters, channels in sizes]
    filter_codes = [
        fourier_features(torch.arange(filters), of_filter * (n / filters))
        for (filters, _), n in zip(sizes, points, strict=True)
    ]
    channel_codes = [
        fourier_features(torch.arange(channels), of_channel * (n / channels))
        for (_, channels), n in zip(sizes, points, strict=True)
    ]
    layer_codes = AxisCodes(fourier_features(torch.arange(len(sizes)), of_layer), (0,) * len(sizes))
    return layer_codes, _layer_after_layer(filter_codes), _layer_after_layer(channel_codes)


def positional_encoding(values: Tensor, *, levels: int, base: float) -> Tensor:
    """Encode integer coordinates, shape (n,), as float64 sinusoids, shape (n, 2 * levels).

    For the coordinate x and level i the pair is sin(pi * base**i * x), cos(pi * base**i * x), interleaved over i = 0
    ... levels - 1. With base < 1 the highest frequency is pi, so neighbouring coordinates get similar codes.
    """
    frequencies = torch.tensor([base**level for level in range(levels)], dtype=torch.float64)
    return fourier_features(values, frequencies / 2)


def fourier_features(values: Tensor, frequencies: Tensor) -> Tensor:
    """Return sine and cosine, interleaved, of 2 pi * frequency * value: float64 (n,) and (m,) to (n, 2 * m)."""
    angles = values.to(torch.float64)[:, None] * (2 * math.pi * frequencies)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


def _layer_after_layer(codes: Sequence[Tensor]) -> AxisCodes:
    starts = accumulate((len(rows) for rows in codes[:-1]), initial=0)
    return AxisCodes(torch.cat(list(codes)), tuple(starts))
