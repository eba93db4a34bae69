import sys

import pytest
import torch

from nern_core.contract.errors import NernError
from nern_core.networks.registry import build_network, find_architecture, structure_of_architecture


def test_a_network_of_timm_has_its_preprocessing_and_any_number_of_classes() -> None:
    architecture = find_architecture("timm:test_vit")
    assert architecture.preprocessing.input_size == 160
    assert architecture.preprocessing.mean == (0.5, 0.5, 0.5)
    tensors = architecture.build(7).state_dict()
    network = build_network(architecture, {f"module.{name}": tensor for name, tensor in tensors.items()})
    assert network(torch.zeros(1, 3, 160, 160)).shape == (1, 7)


def test_the_number_of_classes_is_open_in_its_structure() -> None:
    structure = structure_of_architecture("timm:test_vit")
    assert structure.shapes["head.weight"] == (None, 64)
    assert structure.shapes["head.bias"] == (None,)


@pytest.mark.parametrize("name", ["nothing", "resnet18.nothing", "resnet18.", "resnet18.a:/b"])
def test_a_name_that_timm_does_not_know_is_refused(name: str) -> None:
    with pytest.raises(NernError) as error:
        find_architecture(f"timm:{name}")
    assert error.value.code == "unknown_architecture"


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(NernError, match=r"pip install 'nern\[timm\]'") as error:
        find_architecture("timm:test_vit")
    assert error.value.code == "missing_extra"


def test_an_unknown_name_is_answered_with_the_closest_of_timm() -> None:
    with pytest.raises(NernError, match=r"did you mean timm:mobilenetv3_small_100\?"):
        find_architecture("timm:mobilenetv3_smal_100")
