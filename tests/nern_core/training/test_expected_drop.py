import pytest
import torch
from torch import Tensor

from nern_core.training.expected_drop import OriginalAnswers, PointsLost, expected_drop


def calibrated(temperature: float) -> tuple[Tensor, Tensor]:
    """Return logits of 4,000 images, and labels drawn with the probabilities of the logits divided by `temperature`."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 5, generator=generator)
    return temperature * logits, logits.softmax(dim=1).multinomial(1, generator=generator)[:, 0]


def test_the_same_answers_cost_nothing() -> None:
    logits, labels = calibrated(1.0)
    assert OriginalAnswers(logits, labels).loss(3 * logits + 1) == PointsLost(thought=0.0, counted=0.0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_temperature_is_the_one_that_fits_the_labels(temperature: float) -> None:
    assert OriginalAnswers(*calibrated(temperature)).temperature == pytest.approx(temperature, rel=0.08)


def test_an_original_that_knows_all_that_can_be_known_thinks_what_is_counted() -> None:
    logits, labels = calibrated(1.0)
    other = logits + torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    right, still_right = ((answers.argmax(dim=1) == labels).double().mean() for answers in (logits, other))
    loss = OriginalAnswers(logits, labels).loss(other)
    assert loss.counted == pytest.approx(100 * float(right - still_right))
    assert loss.thought == pytest.approx(loss.counted, abs=1.5)
    assert loss.thought > 3


def test_one_of_two_answers_that_differs_costs_half_of_what_it_is_less_probable() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    original = OriginalAnswers(logits, torch.tensor([0, 0]))
    own, other = (logits[0] / original.temperature).softmax(dim=0).tolist()
    loss = original.loss(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    assert loss.thought == pytest.approx(100 * (own - other) / 2, rel=1e-5)
    assert loss.counted == 50.0


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        # Before anything is counted, two thirds of the original's estimate.
        ([PointsLost(0.001, 0.0)], 0.001 * 2 / 3),
        # Half of the estimate was counted, so half of it is expected once enough has been counted.
        ([PointsLost(100.0, 50.0)], 100 * (50 + 10 / 3) / 105),
        ([PointsLost(100.0, 50.0), PointsLost(2.0, 0.9)], 2 * (50.9 + 10 / 3) / 107),
        ([PointsLost(500.0, 500.0), PointsLost(100.0, 50.0), PointsLost(2.0, 0.9)], 2 * (50.9 + 10 / 3) / 107),
        # At least the counted loss, and at least zero.
        ([PointsLost(1.0, 8.0)], 8.0),
        ([PointsLost(1.0, -8.0)], 0.0),
        ([PointsLost(0.0, 0.0)], 0.0),
    ],
)
def test_thoughts_are_corrected_by_the_last_counts(losses: list[PointsLost], expected: float) -> None:
    assert expected_drop(losses) == pytest.approx(expected, rel=1e-3)
