import pytest
import torch

from nern_core.codec.cosines import cosine_basis
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.kernel_frequencies import (
    frequencies_of,
    gains_from_frequencies,
    kernels_of,
    moments_of_frequencies,
)


def random_kernels(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("kernel_shape", [(5,), (3, 3), (1, 7), (2, 3, 4)])
def test_kernels_come_back_from_their_frequencies(kernel_shape: tuple[int, ...]) -> None:
    kernels = random_kernels(4, 6, torch.Size(kernel_shape).numel())
    torch.testing.assert_close(kernels_of(frequencies_of(kernels, kernel_shape), kernel_shape), kernels)


def test_a_constant_kernel_has_one_frequency() -> None:
    assert frequencies_of(torch.ones(9), (3, 3)).round(decimals=5).tolist() == [3.0] + [0.0] * 8


def test_the_basis_of_the_training_is_that_of_the_decoder() -> None:
    frequencies = frequencies_of(torch.eye(5, dtype=torch.float64), (5,))
    torch.testing.assert_close(frequencies.T, torch.from_numpy(cosine_basis(5).copy()).double(), atol=1e-7, rtol=0)


def test_moments_of_frequencies_are_those_of_transformed_inputs() -> None:
    inputs = random_kernels(50, 2 * 9)
    moments = (inputs.T @ inputs)[None]
    transformed = frequencies_of(inputs.view(50, 2, 9), (3, 3)).reshape(50, 18)
    torch.testing.assert_close(moments_of_frequencies(moments, (3, 3))[0], transformed.T @ transformed)


def test_smooth_kernels_gain_from_frequencies_and_matrices_do_not() -> None:
    smooth = KernelLayer(name="w", shape=(8, 4, 3, 3), tile=None, dtype="float32")
    matrix = KernelLayer(name="w", shape=(8, 36), tile=16, dtype="float32")
    assert gains_from_frequencies(smooth, torch.ones(8, 4, 3, 3) + 0.1 * random_kernels(8, 4, 3, 3))
    assert not gains_from_frequencies(matrix, random_kernels(8, 36))


def test_kernels_with_one_large_value_stay_as_they_are() -> None:
    kernels = 1e-4 * random_kernels(8, 4, 9)
    kernels[..., 4] = random_kernels(8, 4)
    layer = KernelLayer(name="w", shape=(8, 4, 3, 3), tile=None, dtype="float32")
    assert not gains_from_frequencies(layer, kernels.view(8, 4, 3, 3))


@pytest.mark.parametrize("sides", [(1, 600), (600, 1), (2, 512)])
def test_kernels_with_long_axes_stay_as_they_are(sides: tuple[int, ...]) -> None:
    layer = KernelLayer(name="w", shape=(8, 4, *sides), tile=None, dtype="float32")
    assert not gains_from_frequencies(layer, torch.ones(8, 4, *sides) + 0.1 * random_kernels(8, 4, *sides))
