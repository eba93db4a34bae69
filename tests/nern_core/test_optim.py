import math

import pytest
import torch
from torch import nn

from nern_core.optim import Muon, OptimizerConfig, Optimizers, orthogonalize


@pytest.mark.parametrize("shape", [(8, 8), (16, 4), (4, 16)])
def test_orthogonalizing_brings_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)))
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.3


def test_muon_takes_the_steps_of_torch() -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(12, 6), [torch.randn(12, 6) for _ in range(3)]
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = [Muon([ours], lr=0.1), torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0)]
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    # torch multiplies in bfloat16, whose steps of 2**-8 bound the agreement.
    assert float((ours.detach() - theirs.detach()).norm() / (theirs.detach() - start).norm()) < 0.03


def train_linear(config: OptimizerConfig) -> tuple[nn.Linear, list[float]]:
    torch.manual_seed(0)
    wanted, inputs = nn.Linear(6, 4), torch.randn(64, 6)
    module = nn.Linear(6, 4)
    optimizers, losses = Optimizers(config, module), []
    for step in range(300):
        loss = (module(inputs) - wanted(inputs).detach()).square().mean()
        losses.append(loss.item())
        loss.backward()
        optimizers.step(step / 300)
    return module, losses


def test_muon_learns_a_linear_map() -> None:
    _, losses = train_linear(OptimizerConfig(name="muon", learning_rate=0.05, bias_learning_rate=0.05))
    assert losses[-1] < 1e-3


def test_ranger_learns() -> None:
    _, losses = train_linear(OptimizerConfig(name="ranger", learning_rate=0.05))
    assert losses[-1] < 0.3 * losses[0]


def test_ranger_centralizes_gradients_as_the_published_runs_did() -> None:
    module = nn.Linear(6, 4)
    optimizers = Optimizers(OptimizerConfig(name="ranger", learning_rate=0.05), module)
    start = module.weight.detach().clone()
    for _ in range(5):
        # A gradient that is the same for every input of a row has nothing left once it is centralized.
        module.weight.grad = torch.arange(1.0, 5.0)[:, None].expand(4, 6).clone()
        optimizers.step(0.0)
    torch.testing.assert_close(module.weight.detach(), start)


def test_learning_rates_follow_a_cosine() -> None:
    module = nn.Linear(2, 2)
    optimizers = Optimizers(OptimizerConfig(name="muon", learning_rate=0.1, bias_learning_rate=0.01), module)
    optimizers.step(0.25)
    rates = [group["lr"] for optimizer in optimizers.optimizers for group in optimizer.param_groups]
    decay = (1 + math.cos(math.pi / 4)) / 2
    assert rates == pytest.approx([0.1 * decay, 0.01 * decay])
