import pytest
import torch

from nern_core.kernels import select_layers
from nern_core.options import Permutation
from nern_core.targets import make_targets, to_weights


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


def test_scaled_targets_have_unit_deviation_over_all_layers() -> None:
    originals = tensors()
    targets = make_targets(originals, select_layers(originals, ["*"]), Permutation.NONE, scaled=True)
    values = torch.cat([target.kernels.flatten() for target in targets.heads.values()])
    assert float(values.std(correction=0)) == pytest.approx(1, rel=1e-5)


def test_what_fills_a_tile_up_does_not_count_for_the_scale() -> None:
    originals = {"w": torch.randn(8, 17, generator=torch.Generator().manual_seed(0)) + 3}
    scale = make_targets(originals, select_layers(originals, ["w"]), Permutation.NONE, scaled=True).scale
    assert scale == pytest.approx(float(originals["w"].std(correction=0)), rel=1e-5)


def test_constant_zero_weights_keep_the_scale_one() -> None:
    originals = {"w": torch.zeros(2, 2, 3, 3)}
    assert make_targets(originals, select_layers(originals, ["*"]), Permutation.NONE, scaled=True).scale == 1.0


def test_coordinates_are_layer_filter_channel_in_raster_order() -> None:
    originals = tensors()
    targets = make_targets(originals, select_layers(originals, ["*"]), Permutation.NONE, scaled=False)
    assert targets.heads["3x3"].coordinates[:4].tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0]]
    assert targets.heads["3x3"].coordinates[12].tolist() == [1, 0, 0]
    assert targets.heads["7x7"].coordinates[-1].tolist() == [2, 1, 2]
