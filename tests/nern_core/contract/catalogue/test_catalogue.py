import math
import subprocess
import sys

import pytest
from pydantic import ValidationError

from nern_core.contract.catalogue import RECIPE_ENTRIES, RecipeName, architectures, network_structure
from nern_core.contract.catalogue.architectures import has_provider
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from nern_core.networks.registry import catalogued_names
from nern_core.recipes import RECIPES
from scripts import write_catalogue
from tests.conftest import ROOT


def test_the_architectures_are_those_of_the_providers() -> None:
    assert [found.name for found in architectures()] == catalogued_names()


@pytest.mark.parametrize(
    "name",
    ["digits-cnn", "cifar-resnet20", "torchvision:resnet18", "torchvision:googlenet", "torchvision:vit_b_16"]
    + ["torchvision:lraspp_mobilenet_v3_large", "torchvision:raft_small"],
)
def test_an_architecture_is_described_as_it_is_built(name: str) -> None:
    assert next(found for found in architectures() if found.name == name) == write_catalogue.entry(name)


@pytest.mark.parametrize("name", ["digits-cnn", "torchvision:googlenet", "torchvision:mnasnet0_5"])
def test_the_tensors_of_an_architecture_are_those_that_it_is_built_with(name: str) -> None:
    assert network_structure(name) == write_catalogue.structure(name)


def test_the_tensors_of_every_architecture_are_known() -> None:
    for found in architectures():
        # Optical flow has no classes.
        assert (found.classes is None) == found.name.startswith("torchvision:raft_")
        assert found.parameters is not None
        shapes = network_structure(found.name).with_classes(found.classes or 0)
        assert sum(map(math.prod, shapes.values())) >= found.parameters


def test_the_sizes_that_follow_the_number_of_classes_are_open() -> None:
    googlenet = network_structure("torchvision:googlenet")
    assert googlenet.classifier == "fc.weight"
    assert googlenet.auxiliary == ("aux1", "aux2")
    assert googlenet.shapes["aux2.fc2.bias"] == (None,)
    assert googlenet.with_classes(7)["fc.weight"] == (7, 1024)


def test_a_detection_network_has_several_logits_of_each_class() -> None:
    retinanet = network_structure("torchvision:retinanet_resnet50_fpn")
    assert retinanet.classifier == "head.classification_head.cls_logits.weight"
    assert retinanet.multiples[retinanet.classifier] == 9
    assert retinanet.with_classes(7)[retinanet.classifier] == (63, 256, 3, 3)
    assert retinanet.classes_of(63) == 7


def test_an_architecture_without_known_tensors_is_named() -> None:
    with pytest.raises(NernError, match="torchvision has no network 'vgg'") as error:
        network_structure("torchvision:vgg")
    assert error.value.code == "unknown_architecture"


def test_every_architecture_can_be_asked_for() -> None:
    for found in architectures():
        assert EncodeOptions(architecture=found.name).architecture == found.name


def test_resnet20_is_counted_as_published() -> None:
    resnet20 = next(found for found in architectures() if found.name == "cifar-resnet20")
    assert (resnet20.parameters, resnet20.represented["spatial"].weights) == (269_722, 267_696)
    assert resnet20.represented["spatial"].kernel_shapes == ((3, 3),)


def test_the_recipes_are_those_that_can_be_asked_for() -> None:
    assert [entry.name for entry in RECIPE_ENTRIES] == list(RecipeName) == list(RECIPES)
    assert RECIPE_ENTRIES[0].name is EncodeOptions().recipe


@pytest.mark.parametrize("entry", RECIPE_ENTRIES, ids=lambda entry: entry.name)
def test_a_recipe_is_described_as_it_is(entry: object) -> None:
    found = next(one for one in RECIPE_ENTRIES if one is entry)
    recipe = RECIPES[found.name]
    assert (found.default_seconds, found.default_steps) == (
        recipe.default_seconds,
        recipe.default_steps,
    )
    assert found.learns_from_dataset is not recipe.data_free
    given = {"recipe": found.name, "architecture": "digits-cnn", "dataset": "digits"}
    assert _accepted(recipe=found.name) is not found.needs_architecture
    assert _accepted(**given, target_ratio=8) is found.takes_target
    assert _accepted(**given, max_drop=1) is found.takes_max_drop


def _accepted(**options: object) -> bool:
    try:
        EncodeOptions.model_validate(options)
    except ValueError:
        return False
    return True


def test_the_catalogue_is_told_without_torch_and_numpy() -> None:
    program = "import sys, nern_core.contract.catalogue\nassert not {'torch', 'numpy', 'numba'} & set(sys.modules)\n"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", ["cifar-resnet20", "torchvision:resnet18", "torchvision:of-a-later-release"])
def test_a_name_with_a_provider_is_left_to_that_provider(name: str) -> None:
    assert has_provider(name)


@pytest.mark.parametrize("name", ["resnet18", "acme:tagger", "", ":", "cifar-resnet21"])
def test_a_name_without_a_provider_is_unknown(name: str) -> None:
    assert not has_provider(name)
    with pytest.raises(ValidationError, match="there is no such architecture"):
        EncodeOptions(architecture=name)
