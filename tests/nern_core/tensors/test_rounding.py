import pytest
import torch

from nern_core.tensors.rounding import round_to_nearest


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("shape", [(5, 7), (3, 2, 3, 3)])
def test_every_value_is_the_nearest_level_of_its_row(bits: int, shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = round_to_nearest(tensor, bits).values()
    largest = 2 ** (bits - 1) - 1
    for row, rounded in zip(tensor, values, strict=True):
        levels = torch.arange(-largest, largest + 1) * row.abs().max() / largest
        nearest = levels[(row.flatten()[:, None] - levels).abs().argmin(dim=1)].view(row.shape)
        torch.testing.assert_close(rounded, nearest)


def test_the_largest_magnitude_of_a_row_comes_back_exactly() -> None:
    rounded = round_to_nearest(torch.tensor([[0.5, -2.0], [8.0, 1.0]]), 3)
    assert rounded.symbols.tolist() == [[1, -3], [3, 0]]
    torch.testing.assert_close(rounded.scales, torch.tensor([2 / 3, 8 / 3]))


def test_a_row_of_zeros_stays_zero() -> None:
    assert round_to_nearest(torch.zeros(2, 3), 4).values().tolist() == [[0, 0, 0], [0, 0, 0]]
