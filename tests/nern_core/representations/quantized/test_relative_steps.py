import pytest
import torch

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.relative_steps import relative_steps
from nern_core.tensors.norms import root_mean_square

LAYERS = [
    KernelLayer(name="a", shape=(16, 16, 3, 3), tile=None, dtype="float32"),
    KernelLayer(name="b", shape=(32, 40), tile=16, dtype="float32"),
]


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a": torch.randn(16, 16, 3, 3, generator=generator), "b": 0.01 * torch.randn(32, 40, generator=generator)}


def test_relative_errors_of_layers_do_not_depend_on_their_scale_and_grow_with_the_root_of_their_size() -> None:
    first, second = relative_steps(LAYERS, tensors()).at(0.02)
    of_first, of_second = (root_mean_square(tensors()[layer.name]) for layer in LAYERS)
    ratio = root_mean_square(first) / of_first / (root_mean_square(second) / of_second)
    assert float(ratio) == pytest.approx((2304 / 1280) ** 0.5, rel=1e-4)


def test_large_steps_are_alike_in_all_layers_so_that_none_is_lost() -> None:
    first, second = relative_steps(LAYERS, tensors()).at(10.0)
    of_first, of_second = (root_mean_square(tensors()[layer.name]) for layer in LAYERS)
    ratio = root_mean_square(first) / of_first / (root_mean_square(second) / of_second)
    assert float(ratio) == pytest.approx(1, rel=0.01)


def test_steps_follow_the_norms_of_filters_that_differ() -> None:
    layer = KernelLayer(name="w", shape=(2, 64), tile=16, dtype="float32")
    rows = torch.randn(1, 64, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [16.0]])
    (steps,) = relative_steps([layer], {"w": rows}).steps
    assert float(steps[1] / steps[0]) == pytest.approx(8.0)


def test_filters_that_are_hardly_different_share_one_step() -> None:
    first, _ = relative_steps(LAYERS, tensors()).steps
    assert first.unique().numel() == 1


@pytest.mark.parametrize("scale", [1e-290, 1e-30, 1e19, 1e30, 1e300])
def test_no_scale_of_the_weights_is_too_large_or_too_small(scale: float) -> None:
    weights = {name: tensor.double() * scale for name, tensor in tensors().items()}
    relative = relative_steps(LAYERS, weights)
    expected = relative_steps(LAYERS, tensors())
    for steps, unscaled in zip(relative.steps, expected.steps, strict=True):
        torch.testing.assert_close(steps, unscaled * scale, rtol=1e-6, atol=0)
