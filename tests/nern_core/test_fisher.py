import pytest
import torch
from torch import Tensor, nn

from nern_core.fisher import kernel_fisher


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


@pytest.mark.parametrize("groups", [1, 2])
def test_the_fisher_information_is_that_of_single_gradients(groups: int) -> None:
    subject = network(groups)
    inputs = torch.randn(8, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    found = kernel_fisher(subject, inputs.split(8), {"conv.weight"}, generator)["conv.weight"]
    labels = torch.multinomial(subject(inputs).softmax(1), 1, generator=torch.Generator().manual_seed(2))[:, 0]
    weight = subject.conv.weight.requires_grad_()
    squares = torch.zeros_like(weight)
    for image, label in zip(inputs, labels, strict=True):
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(subject(image[None]), label[None]), weight)
        squares += gradient.square()
    torch.testing.assert_close(found, (squares / 8).mean(dim=(2, 3)), rtol=1e-3, atol=1e-7)


def test_other_layers_are_left_out() -> None:
    subject = network()
    assert kernel_fisher(subject, [torch.randn(4, 4, 6, 6)], {"linear.weight"}, torch.Generator()) == {}
