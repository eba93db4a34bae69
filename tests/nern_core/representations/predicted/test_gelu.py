"""GELU against the complementary error function of the C library, which is precise where GELU is small."""

import math

import pytest
import torch

from nern_core.representations.predicted.gelu import gelu_


def exactly(x: float) -> float:
    return x * math.erfc(-x * math.sqrt(0.5)) / 2


def test_it_is_exact_to_within_few_roundings() -> None:
    points = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    expected = torch.tensor([exactly(x) for x in points.tolist()], dtype=torch.float64)
    error = (gelu_(points.clone()) - expected).abs()
    # Two or three roundings in 1 + erf, multiplied by half of x.
    assert bool((error <= 6e-16 * points.abs().clamp(min=1)).all())


def test_it_is_in_place_for_any_shape() -> None:
    values = torch.randn(3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.gelu(values)
    assert gelu_(values) is values
    torch.testing.assert_close(values, expected, rtol=0, atol=4e-15)


@pytest.mark.parametrize(
    "values",
    [torch.linspace(-9, 9, 40, dtype=torch.float64).view(4, 10)[:, ::2], torch.linspace(-9, 9, 40)],
    ids=["not in one piece", "float32"],
)
def test_what_torch_has_to_do_is_in_place_too(values: torch.Tensor) -> None:
    expected = torch.nn.functional.gelu(values)
    assert gelu_(values) is values
    assert torch.equal(values, expected)


def test_what_is_far_out_stays_itself_or_becomes_nothing() -> None:
    inf, nan = math.inf, math.nan
    found = gelu_(torch.tensor([inf, 1e300, -1e300, -inf, 0.0, nan], dtype=torch.float64))
    assert found[:2].tolist() == [inf, 1e300]
    assert found[2:4].tolist() == pytest.approx([0, 0], abs=1e-15)
    assert found[4] == 0
    assert found[5].isnan()


def test_nothing_is_made_of_nothing() -> None:
    assert gelu_(torch.empty(0, 4, dtype=torch.float64)).shape == (0, 4)
