import pytest
import torch

from nern_core.representations.quantized.parameters import numbers_of_steps
from nern_core.representations.quantized.rate import RateModel
from nern_core.representations.quantized.start import relative_steps, starting_steps
from nern_core.tensors.kernels import KernelLayer
from nern_core.tensors.norms import root_mean_square

LAYERS = [
    KernelLayer(name="a", shape=(16, 16, 3, 3), tile=None, dtype="float32"),
    KernelLayer(name="b", shape=(32, 40), tile=16, dtype="float32"),
]


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a": torch.randn(16, 16, 3, 3, generator=generator), "b": 0.01 * torch.randn(32, 40, generator=generator)}


def bits_with(steps: list[torch.Tensor]) -> float:
    latents = [numbers_of_steps(tensors()[layer.name], layer, step) for layer, step in zip(LAYERS, steps, strict=True)]
    return float(RateModel([latent.round().to(torch.int32) for latent in latents]).bits_of_rounded(latents))


@pytest.mark.parametrize("bits_per_weight", [0.7, 1.6, 3.0, 5.5])
def test_the_integers_take_the_wanted_bits_or_those_of_the_next_step_of_the_grid(bits_per_weight: float) -> None:
    weights = 2304 + 1280
    bits = bits_with(starting_steps(LAYERS, tensors(), bits_per_weight * weights))
    assert 0 <= bits / weights - bits_per_weight < 0.125


def test_relative_errors_of_layers_do_not_depend_on_their_scale_and_grow_with_the_root_of_their_size() -> None:
    first, second = relative_steps(LAYERS, tensors()).exactly_at(0.02)
    of_first, of_second = (root_mean_square(tensors()[layer.name]) for layer in LAYERS)
    ratio = root_mean_square(first) / of_first / (root_mean_square(second) / of_second)
    assert float(ratio) == pytest.approx((2304 / 1280) ** 0.5, rel=1e-4)


def test_large_steps_are_alike_in_all_layers_so_that_none_is_lost() -> None:
    first, second = relative_steps(LAYERS, tensors()).exactly_at(10.0)
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


@pytest.mark.parametrize(("wanted", "steps_per_deviation"), [(0.0, 0.1), (1e9, 150.0)])
def test_what_cannot_be_had_ends_at_an_end(wanted: float, steps_per_deviation: float) -> None:
    first, _ = starting_steps(LAYERS, tensors(), wanted)
    found = float(root_mean_square(tensors()["a"]) / root_mean_square(first))
    # Within half a cell of the grid of steps, of the layer with the largest steps.
    assert steps_per_deviation / 1.4 < found < steps_per_deviation * 1.1
