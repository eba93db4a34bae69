import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nern_core.contract.errors import NernError
from nern_core.representations.quantized.integers import (
    LARGEST_MAGNITUDE,
    Stops,
    fit_stops,
    magnitude_bits,
    pack_integers,
    unpack_integers,
)


def fitted(values: np.ndarray, classes: np.ndarray) -> list[Stops]:
    magnitudes = np.minimum(np.abs(values), LARGEST_MAGNITUDE)
    return [
        fit_stops(np.bincount(magnitudes[classes == index], minlength=LARGEST_MAGNITUDE + 1).astype(np.float64))
        for index in range(int(classes.max(initial=0)) + 1)
    ]


def laplace(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    classes = generator.integers(0, 5, count).astype(np.uint8)
    scales = np.array([0.1, 0.5, 1.0, 4.0, 20.0])[classes]
    return np.rint(generator.laplace(0, scales)).astype(np.int32), classes


def test_unpacking_gives_back_the_integers() -> None:
    values, classes = laplace(5000)
    stops = fitted(values, classes)
    assert unpack_integers(pack_integers(values, classes, stops), classes, stops).tolist() == values.tolist()


@given(st.lists(st.integers(-(2**24), 2**24), max_size=30))
def test_integers_of_any_size_come_back(numbers: list[int]) -> None:
    values, classes = np.array(numbers, np.int32), np.zeros(len(numbers), np.uint8)
    stops = fitted(values, classes)
    assert unpack_integers(pack_integers(values, classes, stops), classes, stops).tolist() == numbers


def test_a_stream_is_within_a_hundredth_of_the_entropy_of_its_classes() -> None:
    values, classes = laplace(100_000)
    entropy = 0.0
    for index in range(5):
        _, counts = np.unique(values[classes == index], return_counts=True)
        entropy -= float(counts @ np.log2(counts / counts.sum()))
    packed = pack_integers(values, classes, fitted(values, classes))
    assert 8 * len(packed) == pytest.approx(entropy, rel=0.01)


def test_uniformly_distributed_integers_take_their_entropy() -> None:
    """Fresh linear layers of torch are uniformly distributed, and so are their int8 values."""
    values = np.random.default_rng(0).integers(-127, 128, 200_000).astype(np.int32)
    classes = np.zeros(len(values), np.uint8)
    packed = pack_integers(values, classes, fitted(values, classes))
    assert 8 * len(packed) == pytest.approx(len(values) * np.log2(255), rel=0.003)


def test_equal_integers_take_two_bits_or_less() -> None:
    values, classes = np.full(10_000, 127, np.int32), np.zeros(10_000, np.uint8)
    packed = pack_integers(values, classes, fitted(values, classes))
    assert 8 * len(packed) <= 2 * len(values)


def test_a_stream_takes_the_bits_that_the_distributions_tell() -> None:
    values, classes = laplace(20_000)
    stops = fitted(values, classes)
    bits = sum(
        float(magnitude_bits(stops[index])[np.minimum(np.abs(values[classes == index]), LARGEST_MAGNITUDE)].sum())
        for index in range(5)
    )
    assert 8 * len(pack_integers(values, classes, stops)) == pytest.approx(bits, abs=64)


def test_bits_are_those_of_a_probability_distribution() -> None:
    stops = np.array([128, 100, 30], np.uint8)
    bits = magnitude_bits(stops)
    assert bits[0] == pytest.approx(1.0)
    # The remaining half stops at 1 with 100/256, one half of it for each sign.
    assert bits[1] == pytest.approx(1 + np.log2(256 / 100) + 1, abs=1e-4)
    assert 2.0 ** -bits[0] + 2 * (2.0 ** -bits[1:-1]).sum() == pytest.approx(1.0, abs=1e-3)


def test_a_class_without_integers_has_no_distribution() -> None:
    assert len(fit_stops(np.zeros(LARGEST_MAGNITUDE + 1))) == 0


def test_a_geometric_class_is_told_in_two_bytes() -> None:
    counts = np.zeros(LARGEST_MAGNITUDE + 1)
    counts[:40] = 100_000 * 0.7 ** np.arange(40)
    assert len(fit_stops(counts)) <= 2


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_stream_cut_within_a_word_is_refused(cut: int) -> None:
    values, classes = laplace(100)
    stops = fitted(values, classes)
    with pytest.raises(NernError, match="cut short"):
        unpack_integers(pack_integers(values, classes, stops)[:-cut], classes, stops)


def test_a_stream_with_bytes_left_over_is_refused() -> None:
    values, classes = laplace(100)
    stops = fitted(values, classes)
    with pytest.raises(NernError, match="too long"):
        unpack_integers(pack_integers(values, classes, stops) + bytes(8), classes, stops)


def test_a_class_that_has_no_distribution_is_refused() -> None:
    values, classes = np.array([1], np.int32), np.array([3], np.uint8)
    with pytest.raises(NernError, match="no distribution"):
        unpack_integers(bytes(4), classes, fitted(values, np.array([0], np.uint8)))
