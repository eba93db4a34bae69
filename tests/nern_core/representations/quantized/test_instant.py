import math
from collections.abc import Callable
from functools import partial

import pytest

from nern_core.container.kept import RoundedTensor
from nern_core.representations.quantized.drop_goal import DropGoal
from nern_core.representations.quantized.held_out_drop import Measured
from nern_core.representations.quantized.instant import quantize_for_rate_instantly, quantize_within_drop_instantly
from nern_core.representations.quantized.quantizer import Quantized, Quantizer
from tests.nern_core.digits_teacher import digits_teacher
from tests.nern_core.representations.quantized.test_within_drop import LAYERS, TENSORS, bytes_of, measure_with


def quantizer() -> Quantizer:
    return Quantizer(TENSORS, LAYERS, digits_teacher().network, has_inputs=True)


def search(goal: DropGoal, measure: Callable[[Quantized], Measured]) -> tuple[int, list[float]]:
    """Return the bytes of the result, and the drops of all trials, the result's last."""
    made = quantizer()
    quantized, trials = quantize_within_drop_instantly(made, made.plan(), goal, measure)
    return bytes_of(quantized), [trial.drop for trial in trials]


def test_a_rate_is_met_within_three_percent() -> None:
    made = quantizer()
    bits = 8 * bytes_of(quantize_for_rate_instantly(made, made.plan(), 3.0)) / made.weights
    assert bits == pytest.approx(3.0, rel=0.03)


def test_all_other_parameters_are_stored_in_eight_bits() -> None:
    made = quantizer()
    kept = quantize_for_rate_instantly(made, made.plan(), 3.0).kept
    parameters = {name for name, _ in digits_teacher().network.named_parameters()}
    rounded = {name for name, values in kept.items() if isinstance(values, RoundedTensor)}
    assert rounded == parameters & kept.keys() != set()


@pytest.mark.parametrize("allowed", [0.25, 1.0, 4.0])
def test_the_fewest_bits_within_the_limit_are_found(allowed: float) -> None:
    # The drop doubles with every fourth of a bit less.
    weights = quantizer().weights
    size, drops = search(DropGoal(allowed), measure_with(partial(_drop_of, weights)))
    assert 0.8 * allowed <= _drop_of(weights, size) <= allowed
    assert drops[-1] <= allowed


def test_no_file_has_fewer_bits_than_the_goal_allows() -> None:
    weights = quantizer().weights
    size, drops = search(DropGoal(1.0, least_bits=3.0), measure_with(lambda size: 0.0))
    assert drops == [0.0]
    assert 8 * size / weights == pytest.approx(3.0, rel=0.03)


def test_without_any_size_within_the_limit_the_smallest_drop_is_chosen() -> None:
    weights = quantizer().weights
    size, drops = search(DropGoal(1.0), measure_with(lambda size: 5 + _drop_of(weights, size)))
    assert drops[-1] == min(drops) > 1.0
    assert size > weights * 4 / 8


def _drop_of(weights: int, size: int) -> float:
    return math.exp2(4 * (2.5 - 8 * size / weights))
