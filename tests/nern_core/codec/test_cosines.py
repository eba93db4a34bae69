import mpmath
import numpy as np
import pytest

from nern_core.codec.cosines import LONGEST_SIDE, cosine_basis


def nearest_float32(value: mpmath.mpf) -> float:
    """Round once, by comparing a number of float32 with its neighbours."""
    guess = np.float32(float(value))
    candidates = [np.nextafter(guess, np.float32(-2)), guess, np.nextafter(guess, np.float32(2))]
    return float(min(candidates, key=lambda candidate: abs(mpmath.mpf(float(candidate)) - value)))


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 7, 11, 16])
def test_entries_are_the_float32_nearest_to_values_with_50_digits(side: int) -> None:
    with mpmath.workdps(50):
        for k in range(side):
            amplitude = mpmath.sqrt(mpmath.mpf(1 if k == 0 else 2) / side)
            for i in range(side):
                exact = amplitude * mpmath.cos(mpmath.pi * (2 * i + 1) * k / (2 * side))
                expected = 0.0 if abs(exact) < 1e-40 else nearest_float32(exact)
                assert float(cosine_basis(side)[k, i]) == expected


def test_the_bits_of_a_basis_are_fixed() -> None:
    # Must be the same on every machine, or files would decode to other weights.
    assert [float(value).hex() for value in cosine_basis(3).flatten()] == [
        "0x1.279a740000000p-1",
        "0x1.279a740000000p-1",
        "0x1.279a740000000p-1",
        "0x1.6a09e60000000p-1",
        "0x0.0p+0",
        "-0x1.6a09e60000000p-1",
        "0x1.a20bd80000000p-2",
        "-0x1.a20bd80000000p-1",
        "0x1.a20bd80000000p-2",
    ]


@pytest.mark.parametrize("side", [1, 2, 9, 32, LONGEST_SIDE])
def test_rows_are_orthonormal(side: int) -> None:
    basis = cosine_basis(side).astype(np.float64)
    np.testing.assert_allclose(basis @ basis.T, np.eye(side), atol=1e-6)


def test_a_basis_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        cosine_basis(3)[0, 0] = 1


def test_a_side_has_a_limit() -> None:
    with pytest.raises(ValueError, match="has 1 to 512 values, not 513"):
        cosine_basis(LONGEST_SIDE + 1)
