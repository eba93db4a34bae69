import math

import constriction
import numpy as np
import pytest
import torch

from nern_core.contract.errors import NernError
from nern_core.contract.options import Permutation
from nern_core.representations.predicted.permutation_streams import pack_order, unpack_order

Uniform = constriction.stream.model.Uniform
CROSS, IN_FILTER = Permutation.CROSS_FILTER, Permutation.IN_FILTER


def random_order(filters: int, channels: int, method: Permutation) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if method is Permutation.CROSS_FILTER:
        return torch.randperm(filters * channels, generator=generator)
    outer = torch.randperm(filters, generator=generator)
    inner = torch.stack([torch.randperm(channels, generator=generator) for _ in range(filters)])
    return (outer[:, None] * channels + inner).flatten()


@pytest.mark.parametrize("method", [IN_FILTER, CROSS])
@pytest.mark.parametrize(("filters", "channels"), [(1, 1), (1, 5), (5, 1), (16, 3), (7, 9)])
def test_unpacking_undoes_packing(filters: int, channels: int, method: Permutation) -> None:
    order = random_order(filters, channels, method)
    stream = pack_order(order, filters, channels, method)
    assert torch.equal(unpack_order(stream, filters, channels, method), order)


@pytest.mark.parametrize(("filters", "channels"), [(64, 64), (512, 8), (3, 1000)])
def test_an_order_takes_the_bits_that_its_choices_are_worth(filters: int, channels: int) -> None:
    def bytes_of(*factorials: int) -> float:
        return sum(math.lgamma(n + 1) for n in factorials) / math.log(2) / 8

    cross = pack_order(random_order(filters, channels, CROSS), filters, channels, CROSS)
    inner = pack_order(random_order(filters, channels, IN_FILTER), filters, channels, IN_FILTER)
    assert len(cross) <= 1.0005 * bytes_of(filters * channels) + 8
    assert len(inner) <= 1.0005 * bytes_of(filters, *[channels] * filters) + 8


def test_an_order_of_more_kernels_than_a_range_coder_can_choose_from_at_once() -> None:
    order = random_order(1100, 1000, CROSS)
    stream = pack_order(order, 1100, 1000, CROSS)
    assert torch.equal(unpack_order(stream, 1100, 1000, CROSS), order)


def test_a_stream_that_is_cut_short_is_refused() -> None:
    stream = pack_order(random_order(8, 8, CROSS), 8, 8, CROSS)
    with pytest.raises(NernError, match="cut short"):
        unpack_order(stream[:-1], 8, 8, CROSS)


def test_a_stream_that_goes_on_is_refused() -> None:
    stream = pack_order(random_order(8, 8, CROSS), 8, 8, CROSS)
    with pytest.raises(NernError, match="too long"):
        unpack_order(torch.cat([stream, torch.full((8,), 7, dtype=torch.uint8)]), 8, 8, CROSS)


def test_a_swap_with_a_kernel_beyond_the_last_is_refused() -> None:
    # More choices than are coded at once: their high and low bits can encode more positions than exist.
    encoder = constriction.stream.queue.RangeEncoder()
    kernels = 2**20 + 2
    choices = np.arange(kernels, 1, -1)
    wide = choices > 2**20
    high = np.where(wide, (choices - 1) >> 12, 0)
    encoder.encode(high.astype(np.int32), Uniform(), np.where(wide, high + 1, choices).astype(np.int32))
    encoder.encode(np.full(int(wide.sum()), 4095, np.int32), Uniform(4096))
    stream = torch.from_numpy(encoder.get_compressed().astype("<u4").view(np.uint8))
    with pytest.raises(NernError, match="contains an invalid permutation"):
        unpack_order(stream, kernels, 1, CROSS)
