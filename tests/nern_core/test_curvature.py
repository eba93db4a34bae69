import pytest
import torch
from torch import Tensor, nn

from nern_core.curvature import Curvature, estimate_curvature, quadratic_loss


class Network(nn.Module):
    """One convolution before a classifier of 5 classes, for inputs of 4 x 6 x 6."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=groups, bias=False)
        self.linear = nn.Linear(54, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.conv(x).relu().flatten(1))
        return logits


def network(groups: int = 1) -> Network:
    torch.manual_seed(0)
    return Network(groups).requires_grad_(requires_grad=False)


def estimate(subject: Network, images: int = 200) -> Curvature:
    inputs = torch.randn(images, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    return estimate_curvature(subject, inputs.split(64), {"conv.weight"}, generator)["conv.weight"]


@pytest.mark.parametrize("groups", [1, 2])
def test_the_fisher_information_is_that_of_single_gradients(groups: int) -> None:
    subject = network(groups)
    inputs = torch.randn(8, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    curvature = estimate(subject, images=8)
    labels = torch.multinomial(subject(inputs).softmax(1), 1, generator=torch.Generator().manual_seed(2))[:, 0]
    weight = subject.conv.weight.requires_grad_()
    squares = torch.zeros_like(weight)
    for image, label in zip(inputs, labels, strict=True):
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(subject(image[None]), label[None]), weight)
        squares += gradient.square()
    torch.testing.assert_close(curvature.fisher, (squares / 8).mean(dim=(2, 3)), rtol=1e-3, atol=1e-7)


def test_the_input_factor_is_the_second_moment_of_patches() -> None:
    subject = network()
    inputs = torch.randn(8, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    patches = nn.functional.unfold(inputs, 3, padding=1, stride=2).transpose(0, 1).flatten(1)
    torch.testing.assert_close(estimate(subject, images=8).inputs, (patches @ patches.T / 8)[None])


def test_predicts_the_increase_of_the_loss_under_small_random_errors() -> None:
    subject = network()
    curvature = estimate(subject, images=2000)
    inputs = torch.randn(4000, 4, 6, 6, generator=torch.Generator().manual_seed(3))
    original = subject.conv.weight.clone()
    teacher = subject(inputs).log_softmax(1)
    ratios = []
    for seed in range(10):
        error = 0.02 * torch.randn(original.shape, generator=torch.Generator().manual_seed(seed))
        subject.conv.weight.copy_(original + error)
        student = subject(inputs).log_softmax(1)
        divergence = (teacher.exp() * (teacher - student)).sum(1).mean()
        predicted = quadratic_loss({"w": original + error}, {"w": original}, {"w": curvature}) / 2
        ratios.append(float(predicted / divergence))
    assert 0.7 < sum(ratios) / len(ratios) < 1.4


def test_the_gradient_is_that_of_half_the_value() -> None:
    curvature = estimate(network())
    original = torch.randn(6, 4, 3, 3)
    weight = (original + 0.1 * torch.randn_like(original)).requires_grad_()
    quadratic_loss({"w": weight}, {"w": original}, {"w": curvature}).backward()
    error = (weight - original).detach().requires_grad_()
    blocks = error.reshape(1, 6, 36)
    form = (blocks * (curvature.outputs @ blocks @ curvature.inputs)).sum() / 2
    (expected,) = torch.autograd.grad(form, error)
    torch.testing.assert_close(weight.grad, expected, rtol=1e-3, atol=1e-6)


def test_other_layers_are_left_out() -> None:
    subject = network()
    assert estimate_curvature(subject, [torch.randn(4, 4, 6, 6)], {"linear.weight"}, torch.Generator()) == {}
