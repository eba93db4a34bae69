import pytest
import torch
from torch import Tensor, nn

from nern_core.networks import fisher
from nern_core.networks.fisher import kernel_fisher
from nern_core.tensors.kernels import select_layers


class Network(nn.Module):
    """A convolution, a matrix at each of nine positions and a classifier of 5 classes, for inputs of 4 x 6 x 6."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=groups, bias=False)
        self.mixer = nn.Linear(6, 20)
        self.linear = nn.Linear(180, 5)

    def forward(self, x: Tensor) -> Tensor:
        positions = self.conv(x).relu().flatten(2).mT
        logits: Tensor = self.linear(self.mixer(positions).relu().flatten(1))
        return logits


def network(groups: int = 1) -> Network:
    torch.manual_seed(0)
    return Network(groups).requires_grad_(requires_grad=False)


def squared_gradients(subject: Network, inputs: Tensor, name: str) -> Tensor:
    """Return the mean squared gradient over images, by autograd, one image after another."""
    labels = torch.multinomial(subject(inputs).softmax(1), 1, generator=torch.Generator().manual_seed(2))[:, 0]
    weight = subject.get_parameter(name).requires_grad_()
    squares = torch.zeros_like(weight)
    for image, label in zip(inputs, labels, strict=True):
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(subject(image[None]), label[None]), weight)
        squares += gradient.square()
    return (squares / len(inputs)).detach()


def images() -> Tensor:
    return torch.randn(8, 4, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("values_at_once", [2**24, 300])
def test_the_fisher_information_of_a_convolution_is_that_of_single_gradients(
    groups: int, values_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fisher, "_MOST_VALUES_AT_ONCE", values_at_once)
    subject = network(groups)
    layers = select_layers(subject.state_dict(), ["conv.weight"])
    found = kernel_fisher(subject, [images()], layers, torch.Generator().manual_seed(2))["conv.weight"]
    expected = squared_gradients(subject, images(), "conv.weight").mean(dim=(2, 3))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-7)


def test_the_fisher_information_of_a_matrix_is_the_mean_over_each_tile() -> None:
    subject = network()
    layers = select_layers(subject.state_dict(), ["linear.weight", "mixer.weight"])
    found = kernel_fisher(subject, [images()], layers, torch.Generator().manual_seed(2))
    for name, tiles in (("linear.weight", 12), ("mixer.weight", 1)):
        expected = squared_gradients(subject, images(), name)
        means = torch.stack([tile.mean(dim=1) for tile in expected.split(16, dim=1)], dim=1)
        assert found[name].shape == (len(expected), tiles)
        torch.testing.assert_close(found[name], means, rtol=1e-3, atol=1e-7)


def test_other_layers_are_left_out() -> None:
    subject = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 5)
    ).requires_grad_(requires_grad=False)
    layers = select_layers(subject.state_dict(), ["0.weight", "1.weight"])
    assert list(kernel_fisher(subject, [images()], layers, torch.Generator())) == ["1.weight"]


def test_a_network_that_gives_the_same_for_all_says_nothing() -> None:
    subject = network()
    for parameter in subject.parameters():
        parameter.zero_()
    layers = select_layers(subject.state_dict(), ["conv.weight"])
    assert kernel_fisher(subject, [images()], layers, torch.Generator()) == {}
