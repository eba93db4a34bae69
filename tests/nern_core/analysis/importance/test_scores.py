import math

import pytest
import torch
from torch import Tensor

from nern_core.analysis.importance.model import Criterion, Granularity
from nern_core.analysis.importance.scores import Scores, score
from nern_core.formats.kernel_layer import KernelLayer

CONV = KernelLayer(name="conv", shape=(3, 2, 2, 2), tile=None, dtype="float32")
# Rows of 5 in tiles of 2: the last tile has one weight and one padding value.
MATRIX = KernelLayer(name="matrix", shape=(4, 5), tile=2, dtype="float32")


def tensors(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {layer.name: torch.randn(layer.shape, generator=generator) for layer in (CONV, MATRIX)}


def fisher() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {layer.name: torch.rand(layer.filters, layer.channels, generator=generator) for layer in (CONV, MATRIX)}


def scored(**changes: dict[str, Tensor]) -> Scores:
    given = {"original": tensors(0), "decoded": tensors(1), "fisher": fisher()} | changes
    return score((CONV, MATRIX), given["original"], given["decoded"], given["fisher"])


def kernel(tensor: Tensor, layer: KernelLayer, f: int, c: int) -> list[float]:
    """Return the weights of one kernel as plain numbers."""
    values = tensor[f, c] if layer.tile is None else tensor[f, c * layer.tile : (c + 1) * layer.tile]
    return [float(value) for value in values.flatten()]


def plain_scores(w: list[float], v: list[float]) -> tuple[float, float]:
    """Return relative error and root mean square."""
    squares = sum(x * x for x in w)
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(w, v, strict=True)) / squares), math.sqrt(squares / len(w))


@pytest.mark.parametrize("layer", [CONV, MATRIX])
def test_the_scores_of_a_kernel_are_those_of_its_weights_alone(layer: KernelLayer) -> None:
    by_layer = scored().by_layer
    for f in range(layer.filters):
        for c in range(layer.channels):
            w, v = (kernel(tensors(seed)[layer.name], layer, f, c) for seed in (0, 1))
            error, magnitude = plain_scores(w, v)
            rise = float(fisher()[layer.name][f, c]) * sum(x * x for x in w) / 2
            for criterion, expected in zip(Criterion, (error, magnitude, rise), strict=True):
                found = by_layer[Granularity.KERNEL, criterion][layer.name][f, c]
                assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("layer", [CONV, MATRIX])
def test_the_scores_of_a_filter_are_those_of_all_its_weights(layer: KernelLayer) -> None:
    by_layer = scored().by_layer
    for f in range(layer.filters):
        w, v = ([float(x) for x in tensors(seed)[layer.name][f].flatten()] for seed in (0, 1))
        error, magnitude = plain_scores(w, v)
        kernels = by_layer[Granularity.KERNEL, Criterion.FISHER][layer.name][f]
        for criterion, expected in zip(Criterion, (error, magnitude, float(kernels.sum())), strict=True):
            found = by_layer[Granularity.FILTER, criterion][layer.name][f]
            assert float(found) == pytest.approx(expected, rel=1e-5)


def test_scores_are_float32_with_one_value_for_each_kernel_or_filter() -> None:
    for (granularity, _), by_layer in scored().by_layer.items():
        for layer in (CONV, MATRIX):
            shape = (layer.filters, layer.channels) if granularity is Granularity.KERNEL else (layer.filters,)
            assert (by_layer[layer.name].shape, by_layer[layer.name].dtype) == (shape, torch.float32)


def test_a_kernel_of_zeros_has_the_score_zero_by_all_criteria() -> None:
    original = tensors(0)
    original["conv"][1, 0] = 0
    by_layer = scored(original=original).by_layer
    assert [float(by_layer[Granularity.KERNEL, criterion]["conv"][1, 0]) for criterion in Criterion] == [0, 0, 0]


def test_a_kernel_next_to_zero_has_a_finite_error() -> None:
    original = tensors(0)
    original["conv"][1, 0] = 1e-40
    errors = scored(original=original).by_layer[Granularity.KERNEL, Criterion.RECONSTRUCTION_ERROR]
    assert errors["conv"].isfinite().all()


def test_scores_by_fisher_are_there_for_the_layers_that_it_is_known_of() -> None:
    found = scored(fisher={"conv": fisher()["conv"]})
    assert set(found.by_layer[Granularity.FILTER, Criterion.FISHER]) == {"conv"}
    assert found.complete == (Criterion.RECONSTRUCTION_ERROR, Criterion.MAGNITUDE)
    assert scored().complete == tuple(Criterion)


def test_flat_scores_are_layer_after_layer_in_raster_order() -> None:
    found = scored()
    by_layer = found.by_layer[Granularity.KERNEL, Criterion.MAGNITUDE]
    expected = [
        float(by_layer[la.name][f, c]) for la in (CONV, MATRIX) for f in range(la.filters) for c in range(la.channels)
    ]
    assert found.flat(Granularity.KERNEL, Criterion.MAGNITUDE).tolist() == expected
