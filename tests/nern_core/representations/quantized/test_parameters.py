import math

import pytest
import torch

from nern_core.container.kept import RoundedTensor, values_of
from nern_core.container.step_grid import step_of
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.parameters import QuantizedParameters
from nern_core.representations.quantized.rounding_plan import plan_rounding
from nern_core.representations.quantized.scaled_layer import scaled_layer
from nern_core.representations.quantized.step_tables import StepTables
from nern_core.representations.quantized.weights import decoded_tensor

LAYER = KernelLayer(name="w", shape=(2, 2, 3), tile=None, dtype="float32")
WEIGHTS = torch.tensor([[[0.9, -0.4, 0.1], [2.2, 0.0, -1.1]], [[4.1, 8.3, -3.0], [0.2, 1.9, 6.0]]])
VECTOR = torch.tensor([0.5, -2.0, 0.1])


TABLES = StepTables(*(torch.tensor(table, dtype=torch.float64) for table in ([0.0, 1.0], [0.0, 0.0], [0.0] * 3)))


def parameters(vector: torch.Tensor = VECTOR, *, is_transformed: bool = False) -> QuantizedParameters:
    return QuantizedParameters([scaled_layer(WEIGHTS, LAYER, TABLES, is_transformed=is_transformed)], {"v": vector})


def test_weights_are_rounded_to_the_steps_of_their_filters() -> None:
    weights = parameters().weights()["w"]
    assert weights.tolist() == [[[1.0, 0.0, 0.0], [2.0, 0.0, -1.0]], [[4.0, 8.0, -4.0], [0.0, 2.0, 6.0]]]


@pytest.mark.parametrize("is_transformed", [False, True])
def test_what_is_trained_is_what_is_decoded(is_transformed: bool) -> None:
    made = parameters(is_transformed=is_transformed)
    with torch.no_grad():
        made.filter_steps[0].add_(torch.tensor([0.3, -1.7]))
        made.channel_steps[0].add_(torch.tensor([0.4, -0.2]))
        made.position_steps[0].add_(torch.tensor([0.6, 0.0, -0.9]))
    weights = made.weights()
    (layer,) = made.quantized_layers(made.integers())
    torch.testing.assert_close(decoded_tensor(layer, LAYER), weights["w"], rtol=2e-6, atol=1e-6)
    vector = made.rounded_vectors()["v"]
    torch.testing.assert_close(values_of(vector), weights["v"], rtol=1e-6, atol=0)


def test_vectors_use_the_whole_of_8_bits() -> None:
    vector = parameters().rounded_vectors()["v"]
    assert isinstance(vector, RoundedTensor)
    assert 115 <= vector.integers.abs().max() <= 127
    assert (vector.values() - VECTOR).abs().max() <= step_of(vector.exponent) / 2


def test_fine_vectors_have_12_bits_in_steps_of_a_power_of_two() -> None:
    made = QuantizedParameters([], {"v": VECTOR}, frozenset({"v"}))
    vector = made.rounded_vectors()["v"]
    assert isinstance(vector, torch.Tensor)
    # The largest magnitude is 2: below 2048 steps of 2^-9.
    assert torch.equal(vector, (VECTOR * 2**9).round() / 2**9)
    assert torch.equal(made.weights()["v"], vector)


@pytest.mark.parametrize("fine", [frozenset[str](), frozenset({"v"})])
def test_a_vector_of_zeros_stays_one(fine: frozenset[str]) -> None:
    made = QuantizedParameters([], {"v": torch.zeros(3)}, fine)
    assert values_of(made.rounded_vectors()["v"]).tolist() == [0.0] * 3


def test_gradients_pass_the_rounding_to_weights_and_vectors() -> None:
    made = parameters()
    weights = made.weights()
    (weights["w"].sum() + weights["v"].sum()).backward()
    latent, vector = made.latents[0], made.vectors[0]
    assert latent.grad is not None
    assert vector.grad is not None
    assert latent.grad.tolist() == [[[1.0] * 3] * 2, [[2.0] * 3] * 2]
    assert {name.split(".")[0] for name, given in made.named_parameters() if given.grad is not None} == {
        "latents",
        "vectors",
    }
    # Vectors are trained as shares of their largest magnitude.
    assert vector.grad.tolist() == pytest.approx([2.0] * 3)


@pytest.mark.parametrize("octaves", [0.03, -0.07, math.log2(1.5)])
def test_larger_steps_leave_the_real_weights_as_they_are(octaves: float) -> None:
    made = parameters()
    before = real_weights(made)
    made.enlarge_steps(octaves)
    torch.testing.assert_close(real_weights(made), before)


def test_small_changes_of_the_steps_add_up() -> None:
    made = parameters()
    for _ in range(10):
        made.enlarge_steps(0.1)
    assert made.quantized_layers(made.integers())[0].tables.exponents.filters.tolist() == [8, 16]


def real_weights(made: QuantizedParameters) -> torch.Tensor:
    """Return the weights before rounding, computed with the steps in the file."""
    (tables,) = (layer.tables for layer in made.quantized_layers(made.integers()))
    steps = torch.tensor([step_of(exponent) for exponent in tables.exponents.filters.tolist()])
    weights: torch.Tensor = made.latents[0].detach() * steps[:, None, None]
    return weights


@pytest.mark.parametrize("sixty_fourths", range(9))
def test_rounding_neither_enlarges_nor_shrinks_weights_whatever_their_scale(sixty_fourths: int) -> None:
    weights = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)) * 2 ** (sixty_fourths / 64)
    layer = KernelLayer(name="w", shape=(64, 64), tile=16, dtype="float32")
    plan = plan_rounding([layer], {"w": weights}, None)
    made = QuantizedParameters(list(plan.scaled(plan.octaves_for(8.0 * weights.numel()))), {})
    (quantized,) = made.quantized_layers(made.integers())
    decoded = decoded_tensor(quantized, layer)
    assert float((decoded * weights).sum() / weights.square().sum()) == pytest.approx(1, abs=0.001)
    assert float((decoded - weights).norm() / weights.norm()) < 0.006


def test_vectors_are_trained_as_shares_of_their_largest_magnitudes() -> None:
    vectors = {"large": torch.tensor([3.0, -8.0]), "small": torch.tensor([1e-6, 0.0]), "zeros": torch.zeros(2)}
    made = QuantizedParameters([], vectors)
    assert made.scales.tolist() == pytest.approx([8.0, 1e-6, 1e-6])
    assert [vector.tolist() for vector in made.vectors] == [[0.375, -1.0], [1.0, 0.0], [0.0, 0.0]]
