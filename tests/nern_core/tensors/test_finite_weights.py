import pytest
import torch

from nern_core.contract.errors import NernError
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.tensors.finite_weights import refuse_non_finite
from nern_core.tensors.kernels import select_layers

WEIGHTS = torch.randn(20, 20, generator=torch.Generator().manual_seed(0))
MASK = torch.full((1, 1, 20, 20), float("-inf")).triu(diagonal=1)


def layers(tensors: dict[str, torch.Tensor]) -> tuple[KernelLayer, ...]:
    return select_layers(tensors, ("all",), 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name_and_count(value: float) -> None:
    broken = {"fc.weight": WEIGHTS.clone()}
    broken["fc.weight"][0, :2] = value
    with pytest.raises(NernError, match="'fc.weight' has 2 NaN or infinite values") as error:
        refuse_non_finite(layers(broken), broken, ("all",))
    assert error.value.code == "non_finite"


def test_masks_are_left_to_be_kept_exactly() -> None:
    tensors = {"fc.weight": WEIGHTS, "mask": MASK}
    assert [layer.name for layer in refuse_non_finite(layers(tensors), tensors, ("all",))] == ["fc.weight"]


def test_a_mask_that_a_pattern_asks_for_is_refused() -> None:
    tensors = {"fc.weight": WEIGHTS, "mask": MASK}
    with pytest.raises(NernError, match="'mask' has 190 NaN or infinite values"):
        refuse_non_finite(layers(tensors), tensors, ("all", "mask"))


def test_masks_alone_are_refused() -> None:
    with pytest.raises(NernError, match="only masks") as error:
        refuse_non_finite(layers({"mask": MASK}), {"mask": MASK}, ("all",))
    assert error.value.code == "no_kernels"
