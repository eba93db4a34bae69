import pytest
import torch

from nern_core.container.step_grid import exponents_of, step_of, steps_of


def test_eight_steps_make_an_octave() -> None:
    assert [step_of(exponent) for exponent in (-16, -8, 0, 8, 24)] == [0.25, 0.5, 1.0, 2.0, 8.0]
    assert step_of(1) == pytest.approx(2 ** (1 / 8), rel=1e-15)
    assert step_of(-3) == pytest.approx(2 ** (-3 / 8), rel=1e-15)


def test_the_bits_of_the_steps_are_fixed() -> None:
    # Must be the same on every machine, or files would decode to other weights.
    assert [step_of(exponent).hex() for exponent in range(1, 8)] == [
        "0x1.172b83c7d517bp+0",
        "0x1.306fe0a31b715p+0",
        "0x1.4bfdad5362a27p+0",
        "0x1.6a09e667f3bcdp+0",
        "0x1.8ace5422aa0dcp+0",
        "0x1.ae89f995ad3aep+0",
        "0x1.d5818dcfba488p+0",
    ]


def test_the_exponent_of_a_step_leads_back() -> None:
    exponents = torch.arange(-200, 50, dtype=torch.int32)
    assert exponents_of(steps_of(exponents)).tolist() == exponents.tolist()
