from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.curvature.gradient_energy import gradient_energies
from nern_core.representations.quantized.curvature.input_moments import InputMoments, Moments
from nern_core.representations.quantized.curvature.layer_curvature import block_sizes, shrunk
from nern_core.representations.quantized.curvature.measure import measure_curvature
from nern_core.tensors.kernels import select_layers
from nern_core.training.student import Student


def recorded(network: nn.Module, inputs: Tensor) -> dict[str, Moments]:
    """Return the moments of the inputs of all layers of a network."""
    weights = {name: parameter.detach() for name, parameter in network.named_parameters()}
    with torch.no_grad(), InputMoments(layers_of(network), weights) as moments:
        network(inputs)
    found: dict[str, Moments] = moments.found
    return found


def layers_of(network: nn.Module) -> Sequence[KernelLayer]:
    return select_layers(network.state_dict(), ("all",), 0)


def inputs_of(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bias", [True, False])
def test_moments_of_a_matrix_are_those_of_the_inputs_that_it_multiplies(bias: bool) -> None:
    inputs = inputs_of(30, 8)
    found = recorded(nn.Sequential(nn.Linear(8, 5, bias=bias)), inputs)["0.weight"]
    torch.testing.assert_close(found.blocks[0][0], inputs.T @ inputs)
    assert (found.count, found.inputs_first) == (30, False)


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (1, 2, 2)])
def test_moments_of_a_convolution_are_those_of_its_patches(stride: int, padding: int, dilation: int) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=stride, padding=padding, dilation=dilation))
    inputs = inputs_of(2, 3, 9, 8)
    patches = nn.functional.unfold(inputs, 3, dilation, padding, stride).transpose(1, 2).reshape(-1, 27)
    torch.testing.assert_close(recorded(network, inputs)["0.weight"].blocks[0][0], patches.T @ patches)


def test_groups_have_moments_of_their_own() -> None:
    inputs = inputs_of(2, 6, 10)
    found = recorded(nn.Sequential(nn.Conv1d(6, 6, 3, groups=3)), inputs)["0.weight"]
    last = inputs[:, 4:].unfold(2, 3, 1).permute(0, 2, 1, 3).reshape(-1, 6)
    assert found.blocks[0].shape == (3, 6, 6)
    torch.testing.assert_close(found.blocks[0][2], last.T @ last)


def test_a_transposed_convolution_has_its_inputs_first() -> None:
    inputs = inputs_of(2, 4, 5, 5)
    found = recorded(nn.Sequential(nn.ConvTranspose2d(4, 3, 3)), inputs)["0.weight"]
    vectors = inputs.movedim(1, -1).reshape(-1, 4)
    torch.testing.assert_close(found.blocks[0][0], vectors.T @ vectors)
    assert found.inputs_first


def test_a_matrix_that_is_multiplied_from_the_left_has_its_inputs_first() -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(inputs_of(8, 8))

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs @ self.weight

    assert recorded(Product(), inputs_of(30, 8))["weight"].inputs_first


def test_a_layer_that_is_used_twice_has_the_moments_of_both_uses() -> None:
    shared = nn.Linear(4, 4, bias=False)
    found = recorded(nn.Sequential(shared, shared), inputs_of(10, 4))
    assert [moments.count for moments in found.values()] == [20]


def test_energies_of_a_linear_network_are_the_squares_of_its_inputs() -> None:
    network = nn.Sequential(nn.Linear(8, 2, bias=False))
    weights = {name: parameter.detach() for name, parameter in network.named_parameters()}
    batches = [torch.tensor([[1.0, 2.0, -3.0, 0.0, 0.0, 0.0, 0.0, 0.0]])] * 4
    energies = gradient_energies(
        Student(network), layers_of(network), weights, {}, batches, torch.Generator().manual_seed(0)
    ).layers["0.weight"]
    # The derivative of an output by a weight is the input, whatever the signs are.
    assert energies.rows.tolist() == [4 * 14.0, 4 * 14.0]
    assert energies.columns.tolist() == [8.0, 32.0, 72.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_the_energy_of_a_bias_counts_every_output_and_example() -> None:
    network = nn.Sequential(nn.Linear(8, 2))
    tensors = network.state_dict()
    weights, vectors = {"0.weight": tensors["0.weight"]}, {"0.bias": tensors["0.bias"]}
    batches = [inputs_of(1, 8)] * 4
    energy = gradient_energies(
        Student(network), layers_of(network), weights, vectors, batches, torch.Generator().manual_seed(0)
    )
    assert energy.vectors == {"0.bias": 4 * 2.0}


def test_outputs_that_count_more_have_a_larger_curvature() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 4, bias=False)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.inner(inputs) * torch.tensor([1.0, 2.0, 3.0, 4.0])
            return outputs

    network = Scaled()
    weights = {"inner.weight": network.inner.weight.detach()}
    batches = list(inputs_of(64, 6).split(8))
    generator = torch.Generator().manual_seed(0)
    curvature = measure_curvature(Student(network), layers_of(network), weights, {}, batches, generator).layers[
        "inner.weight"
    ]
    assert (curvature.outputs / curvature.outputs[0]).sqrt().tolist() == pytest.approx([1, 2, 3, 4], rel=0.4)


def test_a_layer_that_the_outputs_do_not_depend_on_has_no_curvature() -> None:
    class HalfUsed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.used(inputs)
            return outputs

    network = HalfUsed()
    weights = {name: parameter.detach() for name, parameter in network.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    found = measure_curvature(Student(network), layers_of(network), weights, {}, [inputs_of(4, 6)], generator).layers
    assert found.keys() == {"used.weight"}


def test_a_recurrent_layer_has_the_curvature_of_its_gradients() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(5, 6, batch_first=True)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.lstm(inputs)[0][:, -1]
            return outputs

    network = Last()
    weights = {name: parameter.detach() for name, parameter in network.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    found = measure_curvature(Student(network), layers_of(network), weights, {}, [inputs_of(4, 7, 5)], generator).layers
    assert found["lstm.weight_ih_l0"].outputs.shape == (24,)
    assert found["lstm.weight_hh_l0"].inputs == 6


@pytest.mark.parametrize(
    ("inputs", "kernel_values", "sizes"),
    [(576, 9, [576]), (4608, 9, [918, 918, 927, 918, 927]), (3000, 1, [1000, 1000, 1000]), (2000, 2000, [2000])],
)
def test_blocks_hold_whole_kernels_and_are_almost_equal(inputs: int, kernel_values: int, sizes: list[int]) -> None:
    assert block_sizes(inputs, kernel_values, 1024) == sizes


def test_covariances_measured_on_few_vectors_are_shrunk_and_means_are_not() -> None:
    vectors = inputs_of(4, 8) + 3
    moments, means = (vectors.T @ vectors / 4)[None], vectors.mean(dim=0)[None]
    of_means = means.mT @ means
    found = shrunk(moments, means, 4)[0]
    # 8^2 / (8^2 + 4^2) of each covariance is lost.
    off_diagonal = ~torch.eye(8, dtype=torch.bool)
    torch.testing.assert_close((found - of_means)[off_diagonal], 0.2 * (moments[0] - of_means)[off_diagonal])
    torch.testing.assert_close(found.diagonal(), moments[0].diagonal())


def test_moments_measured_on_many_vectors_stay() -> None:
    vectors = inputs_of(1000, 8)
    moments, means = (vectors.T @ vectors / 1000)[None], vectors.mean(dim=0)[None]
    torch.testing.assert_close(shrunk(moments, means, 1000), moments, rtol=0, atol=1e-4)
