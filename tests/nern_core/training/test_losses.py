import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nern_core.training.losses import (
    feature_distance,
    logit_divergence,
    published_logit_divergence,
    root_mean_squared_error,
    squared_logit_error,
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


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum())


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("offset", [0.0, 1e-4])
def test_divergences_are_the_sums_over_images_and_classes(temperature: float, offset: float) -> None:
    torch.manual_seed(0)
    student, teacher = 5 * torch.randn(6, 4), 5 * torch.randn(6, 4)
    total = 0.0
    for s, t in zip(student.double().numpy(), teacher.double().numpy(), strict=True):
        p, q = softmax(t / temperature), softmax(s / temperature) + offset
        for k in range(4):
            total += p[k] * (math.log(p[k]) - math.log(q[k]))
    divergence = published_logit_divergence if offset else logit_divergence
    found = float(divergence(student, teacher, temperature))
    assert found == pytest.approx(temperature**2 * total / 6, rel=1e-4)


def test_a_temperature_hardly_changes_the_size_of_gradients() -> None:
    torch.manual_seed(0)
    student, teacher = 0.1 * torch.randn(32, 10), 0.1 * torch.randn(32, 10)
    norms = []
    for temperature in (1.0, 8.0):
        logits = student.clone().requires_grad_()
        logit_divergence(logits, teacher, temperature).backward()
        assert logits.grad is not None
        norms.append(float(logits.grad.norm()))
    assert norms[1] == pytest.approx(norms[0], rel=0.05)


def test_the_squared_error_of_logits_is_the_mean_over_images_and_classes() -> None:
    student, teacher = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    assert float(squared_logit_error(student, teacher)) == pytest.approx((4 + 9) / 4)


def test_feature_distance_is_the_sum_over_layers_of_the_mean_over_images() -> None:
    torch.manual_seed(0)
    shapes = [(3, 2, 4, 4), (3, 5, 2, 2), (3, 7)]
    student, teacher = ([torch.randn(shape) for shape in shapes] for _ in range(2))
    expected = 0.0
    for s, t in zip(student, teacher, strict=True):
        for i in range(3):
            a, b = s[i].double().numpy().ravel(), t[i].double().numpy().ravel()
            a, b = a / (math.sqrt((a**2).sum()) + 1e-3), b / (math.sqrt((b**2).sum()) + 1e-3)
            expected += ((a - b) ** 2).sum() / 3
    assert float(feature_distance(student, teacher)) == pytest.approx(expected, rel=1e-5)


def test_rmse_of_random_kernels_is_that_of_numpy() -> None:
    torch.manual_seed(0)
    predicted, targets = ({"3x3": torch.randn(7, 9), "5": torch.randn(4, 5)} for _ in range(2))
    errors = np.concatenate([(predicted[head] - targets[head]).double().numpy().ravel() for head in targets])
    assert float(root_mean_squared_error(predicted, targets)) == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-6)


def test_feature_distance_ignores_the_size_of_maps() -> None:
    maps = torch.randn(3, 4, 5, 5) * 100
    assert float(feature_distance([2 * maps], [maps])) == pytest.approx(0, abs=1e-6)


def test_feature_distance_of_opposite_maps_is_four_per_layer() -> None:
    maps = torch.randn(3, 4, 5, 5) * 100
    assert float(feature_distance([-maps, maps], [maps, maps])) == pytest.approx(4, rel=1e-4)
