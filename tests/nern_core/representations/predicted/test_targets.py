import pytest
import torch

from nern_core.contract.options import Permutation
from nern_core.representations.predicted.targets import make_targets, to_weights
from nern_core.tensors.kernels import select_layers


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"a": torch.randn(4, 3, 3, 3), "b": torch.randn(5, 4, 3, 3), "stem": torch.randn(2, 3, 7, 7)}


@pytest.mark.parametrize("method", list(Permutation))
@pytest.mark.parametrize("scaled", [True, False])
def test_the_targets_themselves_give_back_the_weights(method: Permutation, scaled: bool) -> None:
    originals = tensors()
    targets = make_targets(originals, select_layers(originals, ["*"]), method, scaled=scaled)
    weights = to_weights({head: target.kernels for head, target in targets.heads.items()}, targets)
    for name, original in originals.items():
        torch.testing.assert_close(weights[name], original)


def test_tied_names_share_one_tensor_of_weights() -> None:
    originals = tensors()
    layers = select_layers(originals, ["*"])
    tied = {"again": "b", "bias.again": "bias"}
    targets = make_targets(originals, layers, Permutation.NONE, scaled=False, tied=tied)
    weights = to_weights({head: target.kernels for head, target in targets.heads.items()}, targets)
    assert list(weights) == ["a", "b", "stem", "again"]
    assert weights["again"] is weights["b"]


@pytest.mark.parametrize("scale", [1e-300, 1e-3, 1.0, 1e30, 1e300])
def test_scaled_targets_of_each_layer_are_of_unit_size_to_within_half_a_step_of_the_grid(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    originals = {"a": scale * torch.randn(8, 8, 3, 3, generator=generator).double(), "b": torch.randn(8, 8, 3, 3)}
    targets = make_targets(originals, select_layers(originals, ["*"]), Permutation.CROSS_FILTER, scaled=True)
    for part in targets.heads["3x3"].kernels.split(64):
        assert 2 ** (-1 / 16) < float(part.square().mean().sqrt()) < 2 ** (1 / 16)


def test_a_layer_of_zeros_has_the_scale_zero() -> None:
    originals = {"a": torch.zeros(8, 8, 3, 3), "b": torch.ones(8, 8, 3, 3)}
    targets = make_targets(originals, select_layers(originals, ["*"]), Permutation.NONE, scaled=True)
    assert targets.scales[0] == 0.0
    assert not to_weights({"3x3": torch.randn(128, 9)}, targets)["a"].any()


def test_what_fills_a_tile_up_does_not_count_for_the_scale() -> None:
    originals = {"w": torch.randn(8, 17, generator=torch.Generator().manual_seed(0)) + 3}
    scale = make_targets(originals, select_layers(originals, ["w"]), Permutation.NONE, scaled=True).scale
    assert scale == pytest.approx(float(originals["w"].square().mean().sqrt()), rel=1e-5)


def test_constant_zero_weights_keep_the_scale_one() -> None:
    originals = {"w": torch.zeros(2, 2, 3, 3)}
    assert make_targets(originals, select_layers(originals, ["*"]), Permutation.NONE, scaled=True).scale == 1.0


def test_coordinates_are_layer_filter_channel_in_raster_order() -> None:
    originals = tensors()
    targets = make_targets(originals, select_layers(originals, ["*"]), Permutation.NONE, scaled=False)
    assert targets.heads["3x3"].coordinates[:4].tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0]]
    assert targets.heads["3x3"].coordinates[12].tolist() == [1, 0, 0]
    assert targets.heads["7x7"].coordinates[-1].tolist() == [2, 1, 2]


def test_what_is_distilled_has_one_scale_unless_layers_differ_by_more_than_a_factor_of_32() -> None:
    def exponents(*sizes: float) -> tuple[int | None, ...]:
        tensors = {f"{index}.weight": torch.full((4, 4, 3, 3), size) for index, size in enumerate(sizes)}
        layers = select_layers(tensors, ["*"])
        return make_targets(tensors, layers, Permutation.NONE, scaled=True, distilled=True).exponents

    assert exponents(1.0, 1 / 16) == ()
    assert exponents(1.0, 1 / 16, 0.0) == (0, 0, None)
    large, small = exponents(1.0, 1 / 64)
    assert large is not None
    assert small is not None
    assert large - small == 48
