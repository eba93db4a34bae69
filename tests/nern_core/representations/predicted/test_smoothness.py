import math

import pytest
import torch
from torch import Tensor, nn

from nern_core.representations.predicted.smoothness import kernel_roughness, smoothness_penalty


def cosine(a: Tensor, b: Tensor) -> float:
    products = [x * y for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)]
    return float(sum(products)) / (float(a.norm()) * float(b.norm()))


def plain_roughness(weight: Tensor) -> float:
    filters, channels = weight.shape[:2]
    along_filters = sum(1 - cosine(weight[f, c], weight[f + 1, c]) for f in range(filters - 1) for c in range(channels))
    along_channels = sum(
        1 - cosine(weight[f, c], weight[f, c + 1]) for f in range(filters) for c in range(channels - 1)
    )
    return along_filters + along_channels


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (2, 5, 1, 7), (3, 2, 5), (2, 2, 2, 3, 3), (1, 4, 3, 3), (6, 1, 5, 5)])
def test_roughness_is_the_sum_of_one_minus_the_cosine_of_neighbours(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert float(kernel_roughness(weight)) == pytest.approx(plain_roughness(weight), rel=1e-4)


def test_kernels_of_one_value_differ_by_squares_in_units_of_their_root_mean_square() -> None:
    weight = torch.tensor([[1.0, 3.0], [-1.0, 5.0]])[:, :, None, None]
    mean_square = (1 + 9 + 1 + 25) / 4
    along_filters, along_channels = (2**2 + 2**2), (2**2 + 6**2)
    assert float(kernel_roughness(weight)) == pytest.approx((along_filters + along_channels) / mean_square)


def test_equal_kernels_are_smooth_whatever_their_size() -> None:
    kernel = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    sizes = torch.rand(4, 5, 1, 1, generator=torch.Generator().manual_seed(1)) + 0.1
    assert float(kernel_roughness(sizes * kernel)) == pytest.approx(0.0, abs=1e-4)


def test_zero_kernels_are_unlike_all_and_have_finite_gradients() -> None:
    weight = torch.zeros(2, 2, 3, 3, requires_grad=True)
    penalty = kernel_roughness(weight)
    penalty.backward()
    assert float(penalty.detach()) == 4.0
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-9])
def test_a_kernel_that_is_next_to_zero_has_no_pull_and_disturbs_no_other(value: float) -> None:
    weight = torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    others = [(f, c) for f in range(3) for c in range(3) if (f, c) != (1, 1)]
    pairs = [(a, b) for a in others for b in others if (b[0] - a[0], b[1] - a[1]) in {(0, 1), (1, 0)}]
    expected = 4 + sum(1 - cosine(weight[a], weight[b]) for a, b in pairs)
    weight[1, 1] = value
    weight.requires_grad_()
    penalty = kernel_roughness(weight)
    (gradient,) = torch.autograd.grad(penalty, weight)
    assert penalty.item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(gradient[1, 1], torch.zeros(3, 3))
    assert gradient.abs().max() < 10


def test_the_gradient_is_that_of_finite_differences() -> None:
    for shape in ((3, 3, 2, 2), (3, 3, 1, 1)):
        weight = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(kernel_roughness, (weight,))


def test_the_penalty_of_a_network_is_that_of_its_convolutions_and_of_nothing_else() -> None:
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 2, 3)
    network = nn.Sequential(first, nn.BatchNorm2d(4), second, nn.Flatten(), nn.Linear(8, 2))
    expected = math.fsum(float(kernel_roughness(layer.weight.detach())) for layer in (first, second))
    assert float(smoothness_penalty(network).detach()) == pytest.approx(expected)


def test_descending_the_penalty_makes_neighbours_alike() -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(4, 4, 3)
    before = float(smoothness_penalty(network).detach())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        smoothness_penalty(network).backward()
        optimizer.step()
    assert float(smoothness_penalty(network).detach()) < 0.2 * before


def test_a_network_without_convolutions_is_refused() -> None:
    with pytest.raises(ValueError, match="no convolutions"):
        smoothness_penalty(nn.Linear(3, 3))
