import math
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from nern_core.training.optim import Muon, OptimizerConfig, make_optimizers, orthogonalize


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
    # torch multiplies in bfloat16, whose precision of 2**-8 limits the agreement.
    assert float((ours.detach() - theirs.detach()).norm() / (theirs.detach() - start).norm()) < 0.03


@pytest.mark.parametrize("name", ["muon", "adamw", "ranger"])
def test_gradients_that_are_not_finite_leave_parameters_finite(name: Literal["muon", "adamw", "ranger"]) -> None:
    module = nn.Linear(3, 2)
    optimizers = make_optimizers(OptimizerConfig(name=name, learning_rate=0.1, bias_learning_rate=0.1), module)
    for value in (torch.nan, torch.inf, 1.0):
        module.weight.grad = torch.tensor([[value, 1.0, 1.0]] * 2)
        module.bias.grad = torch.tensor([value, 1.0])
        optimizers.step()
    assert all(bool(parameter.isfinite().all()) for parameter in module.parameters())


def train_linear(config: OptimizerConfig) -> tuple[nn.Linear, list[float]]:
    torch.manual_seed(0)
    wanted, inputs = nn.Linear(6, 4), torch.randn(64, 6)
    module = nn.Linear(6, 4)
    optimizers, losses = make_optimizers(config, module), []
    for step in range(300):
        loss = (module(inputs) - wanted(inputs).detach()).square().mean()
        losses.append(loss.item())
        loss.backward()
        optimizers.schedule(step / 300)
        optimizers.step()
    return module, losses


def test_muon_learns_a_linear_map() -> None:
    _, losses = train_linear(OptimizerConfig(name="muon", learning_rate=0.05, bias_learning_rate=0.05))
    assert losses[-1] < 1e-3


def test_ranger_learns() -> None:
    _, losses = train_linear(OptimizerConfig(name="ranger", learning_rate=0.05))
    assert losses[-1] < 0.3 * losses[0]


def test_ranger_centralizes_gradients_as_the_published_runs_did() -> None:
    module = nn.Linear(6, 4)
    optimizers = make_optimizers(OptimizerConfig(name="ranger", learning_rate=0.05), module)
    start = module.weight.detach().clone()
    for _ in range(5):
        # A gradient that is equal for every input of a row is zero after centralization.
        module.weight.grad = torch.arange(1.0, 5.0)[:, None].expand(4, 6).clone()
        optimizers.schedule(0.0)
        optimizers.step()
    torch.testing.assert_close(module.weight.detach(), start)


Array = NDArray[np.float64]
PUBLISHED = OptimizerConfig(name="ranger", learning_rate=5e-3, weight_decay=1e-3, final_learning_rate=1e-6)


def published_ranger(start: Array, gradients: list[Array], rates: list[float]) -> Array:
    """Run Rectified Adam (arXiv 1908.03265), lookahead (1907.08610), centralized gradients (2004.01461), as published.

    While the variance is not yet tractable, only the momentum is used; weight decay is decoupled.
    """
    beta1, beta2, epsilon, decay, alpha, k = 0.5, 0.999, 1e-5, 1e-3, 0.5, 6
    fast, slow = start.copy(), start.copy()
    momentum, variance = np.zeros_like(start), np.zeros_like(start)
    longest = 2 / (1 - beta2) - 1
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        if gradient.ndim > 1:
            gradient = gradient - gradient.mean(axis=1, keepdims=True)  # noqa: PLW2901 # as in the paper
        momentum = beta1 * momentum + (1 - beta1) * gradient
        variance = beta2 * variance + (1 - beta2) * gradient**2
        fast = fast - decay * rate * fast
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        unbiased = momentum / (1 - beta1**t)
        if length > 5:
            r = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
            # The published code adds epsilon to the biased root.
            fast = fast - rate * r * unbiased * math.sqrt(1 - beta2**t) / (np.sqrt(variance) + epsilon)
        else:
            fast = fast - rate * unbiased
        if t % k == 0:
            slow = slow + alpha * (fast - slow)
            fast = slow.copy()
    return fast


def test_ranger_takes_the_published_steps_with_the_published_decay() -> None:
    steps = 20
    torch.manual_seed(0)
    module = nn.Linear(6, 4).double()
    gradients = [torch.randn(4, 6, dtype=torch.float64) for _ in range(steps)]
    biases = [torch.randn(4, dtype=torch.float64) for _ in range(steps)]
    rates = [1e-6 + (5e-3 - 1e-6) * (1 + math.cos(math.pi * t / steps)) / 2 for t in range(steps)]
    expected = published_ranger(module.weight.detach().numpy(), [g.numpy() for g in gradients], rates)
    expected_bias = published_ranger(module.bias.detach().numpy(), [g.numpy() for g in biases], rates)
    optimizers = make_optimizers(PUBLISHED, module)
    for step, (gradient, bias) in enumerate(zip(gradients, biases, strict=True)):
        module.weight.grad, module.bias.grad = gradient.clone(), bias.clone()
        optimizers.schedule(step / steps)
        optimizers.step()
    np.testing.assert_allclose(module.weight.detach().numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(module.bias.detach().numpy(), expected_bias, rtol=1e-9)


def test_the_first_steps_of_ranger_go_downhill() -> None:
    module = nn.Linear(6, 4)
    before = module.bias.detach().clone()
    module.bias.grad = torch.ones(4)
    make_optimizers(PUBLISHED, module).step()
    assert bool((module.bias < before).all())


def test_adamw_takes_the_textbook_steps() -> None:
    torch.manual_seed(0)
    module = nn.Linear(3, 2).double()
    weight, rate, decay = module.weight.detach().numpy().copy(), 0.01, 0.1
    optimizers = make_optimizers(OptimizerConfig(name="adamw", learning_rate=rate, weight_decay=decay), module)
    mean, square = np.zeros_like(weight), np.zeros_like(weight)
    for t in range(1, 6):
        gradient = torch.randn(2, 3, dtype=torch.float64)
        mean = 0.9 * mean + 0.1 * gradient.numpy()
        square = 0.999 * square + 0.001 * gradient.numpy() ** 2
        weight -= rate * decay * weight
        weight -= rate * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        module.weight.grad = gradient
        optimizers.schedule(0.0)
        optimizers.step()
    np.testing.assert_allclose(module.weight.detach().numpy(), weight, rtol=1e-9)


def test_adamw_learns_a_linear_map() -> None:
    _, losses = train_linear(OptimizerConfig(name="adamw", learning_rate=0.05))
    assert losses[-1] < 1e-3


def test_learning_rates_follow_a_cosine() -> None:
    module = nn.Linear(2, 2)
    optimizers = make_optimizers(OptimizerConfig(name="muon", learning_rate=0.1, bias_learning_rate=0.01), module)
    optimizers.schedule(0.25)
    optimizers.step()
    rates = [group["lr"] for optimizer in optimizers.optimizers for group in optimizer.param_groups]
    decay = (1 + math.cos(math.pi / 4)) / 2
    assert rates == pytest.approx([0.1 * decay, 0.01 * decay])


def test_learning_rates_end_where_they_should() -> None:
    module = nn.Linear(2, 2)
    optimizers = make_optimizers(PUBLISHED, module)
    rates = []
    for fraction in (0.0, 0.5, 1.0):
        optimizers.schedule(fraction)
        optimizers.step()
        rates.append(optimizers.optimizers[0].param_groups[0]["lr"])
    assert rates == pytest.approx([5e-3, (5e-3 + 1e-6) / 2, 1e-6])
