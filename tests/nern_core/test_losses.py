import math

import pytest
import torch

from nern_core.losses import (
    feature_distance,
    logit_divergence,
    published_logit_divergence,
    root_mean_squared_error,
    weighted_squared_error,
)


def test_rmse_is_over_all_weights_of_all_heads() -> None:
    predicted = {"3x3": torch.zeros(2, 9), "1x2": torch.zeros(1, 2)}
    targets = {"3x3": torch.ones(2, 9), "1x2": torch.full((1, 2), 2.0)}
    assert float(root_mean_squared_error(predicted, targets)) == pytest.approx(math.sqrt((18 + 8) / 20))


def test_squared_error_weighs_kernels() -> None:
    predicted, target = torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    assert float(weighted_squared_error(predicted, target, None)) == pytest.approx(2.5)
    assert float(weighted_squared_error(predicted, target, torch.tensor([2.0, 0.0]))) == pytest.approx(1.0)


def test_divergence_is_zero_for_equal_logits_and_ignores_shifts() -> None:
    logits = torch.randn(4, 10)
    assert float(logit_divergence(logits + 3, logits)) == pytest.approx(0, abs=1e-6)


def test_divergence_is_the_textbook_sum() -> None:
    teacher, student = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[0.0, 0.0]])
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert float(logit_divergence(student, teacher)) == pytest.approx(expected, rel=1e-5)


def test_the_published_divergence_stays_finite_where_the_student_is_certain() -> None:
    teacher, student = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 500.0]])
    expected = 0.5 * math.log(0.5 / 1e-4) + 0.5 * math.log(0.5 / 1.0001)
    assert float(published_logit_divergence(student, teacher)) == pytest.approx(expected, rel=1e-4)


def test_feature_distance_ignores_the_size_of_maps() -> None:
    maps = torch.randn(3, 4, 5, 5) * 100
    assert float(feature_distance([2 * maps], [maps])) == pytest.approx(0, abs=1e-6)


def test_feature_distance_of_opposite_maps_is_four_per_layer() -> None:
    maps = torch.randn(3, 4, 5, 5) * 100
    assert float(feature_distance([-maps, maps], [maps, maps])) == pytest.approx(4, rel=1e-4)
