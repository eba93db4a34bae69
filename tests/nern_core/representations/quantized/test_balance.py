import pytest
import torch

from nern_core.representations.quantized.balance import round_balanced


def values(*shape: int) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("by_kernel", [False, True])
def test_every_integer_is_next_to_its_number(by_kernel: bool) -> None:
    numbers = values(4, 8, 9)
    assert float((round_balanced(numbers, by_kernel=by_kernel) - numbers).abs().max()) < 1


@pytest.mark.parametrize("by_kernel", [False, True])
def test_the_errors_of_a_filter_cancel(by_kernel: bool) -> None:
    numbers = values(4, 8, 9)
    errors = round_balanced(numbers, by_kernel=by_kernel) - numbers
    assert float(errors.sum(dim=(1, 2)).abs().max()) <= 0.5001


def test_the_errors_of_almost_all_kernels_cancel_too() -> None:
    numbers = values(4, 64, 9)
    errors = round_balanced(numbers, by_kernel=True) - numbers
    cancelled = errors.sum(dim=2).abs() <= 0.5001
    assert cancelled.double().mean() > 0.9


def test_only_numbers_near_the_middle_are_rounded_the_other_way() -> None:
    numbers = torch.tensor([[[0.45, 0.4, 0.1, 0.1, 2.0]]])
    assert round_balanced(numbers, by_kernel=False).tolist() == [[[1, 0, 0, 0, 2]]]


def test_zeros_stay_zeros() -> None:
    assert not round_balanced(torch.zeros(3, 4, 16), by_kernel=True).any()


def test_parts_of_a_large_layer_are_rounded_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = values(9, 4, 9)
    whole = round_balanced(numbers, by_kernel=True)
    monkeypatch.setattr("nern_core.representations.quantized.balance._VALUES_AT_ONCE", 80)
    assert torch.equal(round_balanced(numbers, by_kernel=True), whole)
