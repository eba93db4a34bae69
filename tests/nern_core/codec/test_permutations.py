import pytest
import torch

from nern_core.codec.permutations import pack_order, unpack_order
from nern_core.errors import NernError
from nern_core.options import Permutation


def random_order(filters: int, channels: int, method: Permutation) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if method is Permutation.CROSS_FILTER:
        return torch.randperm(filters * channels, generator=generator)
    outer = torch.randperm(filters, generator=generator)
    inner = torch.stack([torch.randperm(channels, generator=generator) for _ in range(filters)])
    return (outer[:, None] * channels + inner).flatten()


@pytest.mark.parametrize("method", [Permutation.IN_FILTER, Permutation.CROSS_FILTER])
@pytest.mark.parametrize(("filters", "channels"), [(1, 1), (1, 5), (5, 1), (16, 3), (7, 9)])
def test_unpacking_undoes_packing(filters: int, channels: int, method: Permutation) -> None:
    order = random_order(filters, channels, method)
    stream = pack_order(order, filters, channels, method)
    assert torch.equal(unpack_order(stream, filters, channels, method), order)


def test_an_index_takes_as_many_bits_as_its_choices_need() -> None:
    cross = pack_order(random_order(64, 64, Permutation.CROSS_FILTER), 64, 64, Permutation.CROSS_FILTER)
    inner = pack_order(random_order(64, 64, Permutation.IN_FILTER), 64, 64, Permutation.IN_FILTER)
    assert len(cross) == 4096 * 12 // 8
    assert len(inner) == (4096 * 6 + 64 * 6) // 8


def test_a_stream_that_holds_no_permutation_is_refused() -> None:
    with pytest.raises(NernError, match="not a permutation"):
        unpack_order(torch.zeros(6, dtype=torch.uint8), 3, 4, Permutation.CROSS_FILTER)


def test_a_stream_that_is_cut_short_is_refused() -> None:
    stream = pack_order(random_order(8, 8, Permutation.CROSS_FILTER), 8, 8, Permutation.CROSS_FILTER)
    with pytest.raises(NernError, match="cut short"):
        unpack_order(stream[:-1], 8, 8, Permutation.CROSS_FILTER)
