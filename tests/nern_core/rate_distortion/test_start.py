import pytest
import torch

from nern_core.kernels import KernelLayer
from nern_core.quantized.grid import nearest_steps
from nern_core.rate_distortion.parameters import by_coordinates
from nern_core.rate_distortion.rate import RateModel
from nern_core.rate_distortion.start import starting_steps

LAYERS = [
    KernelLayer(name="a", shape=(16, 16, 3, 3), tile=None, dtype="float32"),
    KernelLayer(name="b", shape=(32, 40), tile=16, dtype="float32"),
]


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a": torch.randn(16, 16, 3, 3, generator=generator), "b": 0.01 * torch.randn(32, 40, generator=generator)}


def bits_with(steps: list[torch.Tensor]) -> float:
    latents = [
        by_coordinates(tensors()[layer.name], layer) / nearest_steps(step)[:, None, None]
        for layer, step in zip(LAYERS, steps, strict=True)
    ]
    return float(RateModel([latent.round().to(torch.int32) for latent in latents]).bits_of_rounded(latents))


@pytest.mark.parametrize("bits_per_weight", [0.7, 1.6, 3.0, 5.5])
def test_the_integers_take_the_wanted_bits_or_those_of_the_next_step_of_the_grid(bits_per_weight: float) -> None:
    weights = 2304 + 1280
    bits = bits_with(starting_steps(LAYERS, tensors(), bits_per_weight * weights))
    assert 0 <= bits / weights - bits_per_weight < 0.1


def test_steps_are_the_same_part_of_the_deviation_of_each_layer() -> None:
    first, second = starting_steps(LAYERS, tensors(), 8000.0)
    assert first.shape == (16,)
    assert float(first[0] / second[0]) == pytest.approx(
        float(tensors()["a"].square().mean().sqrt() / by_coordinates(tensors()["b"], LAYERS[1]).square().mean().sqrt()),
        rel=1e-4,
    )


@pytest.mark.parametrize(("wanted", "steps_per_deviation"), [(0.0, 0.1), (1e9, 100.0)])
def test_what_cannot_be_had_ends_at_an_end(wanted: float, steps_per_deviation: float) -> None:
    first, _ = starting_steps(LAYERS, tensors(), wanted)
    assert float(tensors()["a"].square().mean().sqrt() / first[0]) == pytest.approx(steps_per_deviation, rel=1e-4)
