import math

import pytest
import torch

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.curvature.layer_curvature import LayerCurvature
from nern_core.representations.quantized.curvature.measure import Curvature
from nern_core.representations.quantized.rate import bits_of
from nern_core.representations.quantized.rounding_plan import plan_rounding

LAYERS = [
    KernelLayer(name="a", shape=(16, 16, 3, 3), tile=None, dtype="float32"),
    KernelLayer(name="b", shape=(32, 40), tile=16, dtype="float32"),
]
WEIGHTS = 2304 + 1280


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a": torch.randn(16, 16, 3, 3, generator=generator), "b": 0.01 * torch.randn(32, 40, generator=generator)}


def curvatures(of_b: float = 1.0) -> dict[str, LayerCurvature]:
    return {
        "a": LayerCurvature(moments=(torch.eye(144)[None],), outputs=torch.ones(16, dtype=torch.float64)),
        "b": LayerCurvature(moments=(torch.eye(40)[None],), outputs=torch.full((32,), of_b, dtype=torch.float64)),
    }


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("bits_per_weight", [0.7, 1.6, 3.0, 5.5])
def test_the_integers_take_about_the_wanted_bits(bits_per_weight: float, measured: bool) -> None:
    plan = plan_rounding(LAYERS, tensors(), Curvature(curvatures(1e4)) if measured else None)
    scaled = list(plan.scaled(plan.octaves_for(bits_per_weight * WEIGHTS)))
    bits = bits_of([of_layer.latents for of_layer in scaled])
    assert bits / WEIGHTS == pytest.approx(bits_per_weight, rel=0.1)


def test_a_layer_whose_outputs_count_a_hundredfold_has_a_tenth_of_the_step() -> None:
    first, second = plan_rounding(LAYERS, tensors(), Curvature(curvatures(100.0))).tables(0.0)
    assert second.level - first.level == pytest.approx(torch.tensor(0.1).log2().item(), abs=0.01)


def test_filters_that_count_more_get_finer_steps() -> None:
    measured = curvatures()
    measured["a"] = LayerCurvature(
        moments=measured["a"].moments, outputs=torch.tensor([1.0] * 8 + [16.0] * 8, dtype=torch.float64)
    )
    tables, _ = plan_rounding(LAYERS, tensors(), Curvature(measured)).tables(0.0)
    assert float(tables.filters[0] - tables.filters[-1]) == pytest.approx(2.0)


def test_without_inputs_low_frequencies_get_finer_steps() -> None:
    tables, _ = plan_rounding(LAYERS, {**tensors(), "a": torch.ones(16, 16, 3, 3)}, None).tables(0.0)
    assert float(tables.positions[0]) < float(tables.positions[-1]) - 1


def test_a_layer_without_curvature_has_steps_in_proportion_to_its_weights() -> None:
    measured = {"a": curvatures()["a"]}
    plan = plan_rounding(LAYERS, tensors(), Curvature(measured))
    scaled = list(plan.scaled(plan.octaves_for(3.0 * WEIGHTS)))
    bits = [bits_of([of_layer.latents]) / of_layer.latents.numel() for of_layer in scaled]
    assert bits[1] == pytest.approx(bits[0], abs=0.3)


def test_filters_that_no_input_reaches_have_the_step_of_the_others() -> None:
    measured = curvatures()
    outputs = torch.ones(16, dtype=torch.float64)
    outputs[3] = 0
    measured["a"] = LayerCurvature(moments=measured["a"].moments, outputs=outputs)
    tables, _ = plan_rounding(LAYERS, tensors(), Curvature(measured)).tables(0.0)
    assert tables.filters.unique().numel() == 1


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
@pytest.mark.parametrize("measured", [False, True])
def test_no_scale_of_the_weights_is_too_large_or_too_small(scale: float, measured: bool) -> None:
    layers = [KernelLayer(name=layer.name, shape=layer.shape, tile=layer.tile, dtype="float64") for layer in LAYERS]
    weights = {name: tensor.double() * scale for name, tensor in tensors().items()}
    plan = plan_rounding(layers, weights, Curvature(curvatures(1e4)) if measured else None)
    for of_layer in plan.scaled(plan.octaves_for(4.0 * WEIGHTS)):
        assert of_layer.latents.isfinite().all()
        assert 1 < of_layer.latents.abs().mean() < 100


@pytest.mark.parametrize(("wanted", "steps_per_deviation"), [(0.0, 0.1), (1e9, 150.0)])
def test_what_cannot_be_had_ends_at_a_limit(wanted: float, steps_per_deviation: float) -> None:
    plan = plan_rounding(LAYERS, tensors(), None)
    assert 2 ** -plan.octaves_for(wanted) == pytest.approx(steps_per_deviation)


def test_a_layer_of_zeros_does_not_change_the_steps_of_others() -> None:
    weights = {"a": tensors()["a"], "b": torch.zeros(32, 40)}
    plan, alone = (plan_rounding(layers, weights, Curvature(curvatures())) for layers in (LAYERS, LAYERS[:1]))
    assert plan.octaves_for(3.0 * 2304) == pytest.approx(alone.octaves_for(3.0 * 2304), abs=0.05)


@pytest.mark.parametrize("measured", [("a", "b"), ("b",)])
def test_a_network_of_zeros_stays_one(measured: tuple[str, ...]) -> None:
    weights = {name: torch.zeros_like(tensor) for name, tensor in tensors().items()}
    found = {name: curvatures()[name] for name in measured}
    plan = plan_rounding(LAYERS, weights, Curvature(found))
    assert all(not of_layer.latents.any() for of_layer in plan.scaled(plan.octaves_for(3.0 * WEIGHTS)))


def test_no_layer_gets_finer_steps_than_are_useful_however_much_its_outputs_count() -> None:
    plan = plan_rounding(LAYERS, tensors(), Curvature(curvatures(2.0**100)))
    scaled = list(plan.scaled(plan.octaves_for(6.0 * WEIGHTS)))
    assert scaled[1].latents.std() == pytest.approx(150, rel=0.1)
    assert bits_of([of_layer.latents for of_layer in scaled]) == pytest.approx(6.0 * WEIGHTS, rel=0.1)


def test_vectors_have_more_than_8_bits_where_that_saves_more_error_than_as_many_bits_for_weights() -> None:
    # The step of 8 bits is 2^-7: an entry costs curvature / 2 * 2^-14, a weight 4^octaves.
    vector = {"v": torch.tensor([127 / 128, 0.5])}
    curvature = Curvature(curvatures(), {"v": 2 * 2.0**14 * 10 * math.log(4)})
    plan = plan_rounding(LAYERS, {**tensors(), **vector}, curvature)
    assert plan.fine_vectors(-0.01) == {"v"}
    assert plan.fine_vectors(0.01) == set()


@pytest.mark.parametrize("measured", [{}, {"v": 0.0}])
def test_a_vector_that_the_outputs_do_not_depend_on_has_8_bits(measured: dict[str, float]) -> None:
    plan = plan_rounding(LAYERS, {**tensors(), "v": torch.ones(2)}, Curvature(curvatures(), measured))
    assert plan.fine_vectors(-1000.0) == set()
