from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nern_core.contract.errors import NernError
from nern_core.training.clock import Budget, Clock
from nern_core.training.loop import StepReport, train
from nern_core.training.loss import Batch, Loss
from nern_core.training.optim import OptimizerConfig, make_optimizers
from nern_core.training.snapshots import Snapshots


class FunctionLoss(Loss):
    """A stateless loss that depends only on the fraction."""

    device = torch.device("cpu")

    def __init__(self, function: Callable[[float], Tensor]) -> None:
        self._function = function

    def draw(self, fraction: float) -> Batch:
        return Batch(settings=(fraction,))

    def compute(self, batch: Batch) -> Tensor:
        (fraction,) = batch.settings
        assert isinstance(fraction, float)
        return self._function(fraction)

    def state(self) -> Any:
        return None

    def restore(self, state: Any) -> None:
        assert state is None


CONFIG = OptimizerConfig(name="muon", learning_rate=0.1, bias_learning_rate=0.1)


def run(losses: list[float], steps: int) -> list[StepReport]:
    module = nn.Linear(2, 2)
    remaining = iter(losses)
    reports: list[StepReport] = []

    def loss(fraction: float) -> Tensor:
        return module.weight.square().sum() * 0 + next(remaining)

    optimizers, clock = make_optimizers(CONFIG, module), Clock(Budget(steps=steps))
    train(FunctionLoss(loss), optimizers, clock, (0.0, 1.0), reports.append, Snapshots())
    return reports


def test_reports_the_first_and_the_last_step() -> None:
    module = nn.Linear(2, 2)
    seen: list[tuple[int, float]] = []
    train(
        FunctionLoss(lambda fraction: module.weight.square().sum()),
        make_optimizers(CONFIG, module),
        Clock(Budget(steps=7)),
        (0.0, 1.0),
        lambda report: seen.append((report.clock.step, report.loss)),
        Snapshots(),
    )
    assert (seen[0][0], seen[-1][0]) == (1, 7)
    assert seen[-1][1] < seen[0][1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_training(value: float) -> None:
    with pytest.raises(NernError, match="diverged after 1 steps") as error:
        run([value], steps=1)
    assert error.value.code == "diverged"


def test_the_loss_is_told_how_much_of_the_phase_is_done() -> None:
    module = nn.Linear(2, 2)
    told: list[float] = []

    def loss(fraction: float) -> Tensor:
        told.append(fraction)
        return module.weight.square().sum()

    optimizers, clock = make_optimizers(CONFIG, module), Clock(Budget(steps=4))
    train(FunctionLoss(loss), optimizers, clock, (0.0, 1.0), lambda report: None, Snapshots())
    assert told == [0.0, 0.25, 0.5, 0.75]


def test_a_phase_takes_its_window_of_one_schedule() -> None:
    module = nn.Linear(2, 2)
    optimizers = make_optimizers(CONFIG, module)
    clock = Clock(Budget(steps=4))
    loss = FunctionLoss(lambda fraction: module.weight.square().sum())
    train(loss, optimizers, clock, (0.5, 0.5), lambda report: None, Snapshots())
    # The last of four steps is at 0.5 + 0.5 * 3/4 of the whole cosine.
    expected = 0.1 * (1 + torch.cos(torch.tensor(torch.pi * 0.875))) / 2
    assert optimizers.optimizers[0].param_groups[0]["lr"] == pytest.approx(float(expected))
