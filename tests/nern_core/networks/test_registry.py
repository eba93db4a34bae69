import re
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from nern_core.contract.catalogue import network_structure
from nern_core.contract.errors import NernError
from nern_core.networks import build_network, find_architecture
from nern_core.networks.evaluate import evaluate_checkpoint
from nern_core.networks.registry import WeightlessModules, copy_network
from nern_core.networks.torchvision_models import TorchvisionArchitectures
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.tensors.kernels import select_layers
from nern_core.tensors.name_matching import match_names
from tests.conftest import RealCheckpoints


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("depth", "count"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)]
)
def test_the_cifar_resnets_have_the_parameters_of_the_public_ones(depth: int, count: int) -> None:
    assert parameters(find_architecture(f"cifar-resnet{depth}").build(10)) == count


@pytest.mark.parametrize(
    ("name", "count", "input_size"), [("resnet18", 11_689_512, 224), ("squeezenet1_1", 1_235_496, 224)]
)
def test_torchvision_classifiers_are_found_by_name(name: str, count: int, input_size: int) -> None:
    architecture = find_architecture(f"torchvision:{name}")
    assert parameters(architecture.build(1000)) == count
    assert architecture.preprocessing.input_size == input_size
    assert architecture.preprocessing.mean == (0.485, 0.456, 0.406)


def test_a_torchvision_network_runs_with_the_classes_of_its_checkpoint() -> None:
    architecture = find_architecture("torchvision:resnet18")
    network = build_network(architecture, architecture.build(7).state_dict())
    assert network(torch.randn(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.slow
def test_every_family_of_torchvision_has_classes_and_kernels_to_represent() -> None:
    families = {re.split(r"[\d_]", name)[0]: name for name in reversed(TorchvisionArchitectures().names())}
    assert {"convnext", "maxvit", "regnet", "shufflenet", "swin", "vit"} < set(families)
    assert {"fasterrcnn", "ssdlite", "retinanet", "deeplabv", "lraspp", "mvit", "raft"} < set(families)
    # Optical flow has no classes.
    del families["raft"]
    for name in families.values():
        architecture = find_architecture(f"torchvision:{name}")
        # Networks that are no classifiers may be run while they are built.
        with WeightlessModules() if architecture.is_classifier else nullcontext():
            tensors = architecture.build(7).state_dict()
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        assert match_names(shapes, network_structure(architecture.name)).classes == 7, name
        assert len(select_layers(tensors, ["all"])) > len(select_layers(tensors)) > 0, name


@pytest.mark.parametrize(
    ("name", "classes"),
    [("ssdlite320_mobilenet_v3_large", 5), ("lraspp_mobilenet_v3_large", 2), ("fasterrcnn_mobilenet_v3_large_fpn", 4)],
)
def test_networks_with_several_logits_of_a_class_are_built_for_the_classes_of_a_checkpoint(
    name: str, classes: int
) -> None:
    architecture = find_architecture(f"torchvision:{name}")
    tensors = architecture.build(classes).state_dict()
    network = build_network(architecture, tensors)
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == {
        name: tensor.shape for name, tensor in tensors.items()
    }


def test_a_segmentation_network_may_lack_the_classifier_that_only_training_uses() -> None:
    architecture = find_architecture("torchvision:deeplabv3_mobilenet_v3_large")
    tensors = architecture.build(3).state_dict()
    main = {name: tensor for name, tensor in tensors.items() if not name.startswith("aux_classifier.")}
    inputs = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        outputs = [build_network(architecture, weights)(inputs) for weights in (tensors, main)]
    assert [set(found) for found in outputs] == [{"out", "aux"}, {"out"}]
    assert torch.equal(outputs[0]["out"], outputs[1]["out"])


@pytest.mark.parametrize(
    ("name", "input_size"),
    [
        ("ssdlite320_mobilenet_v3_large", 320),
        ("fasterrcnn_mobilenet_v3_large_fpn", 800),
        ("deeplabv3_mobilenet_v3_large", 520),
        ("r3d_18", 0),
        ("raft_small", 0),
    ],
)
def test_networks_that_are_no_classifiers_have_their_own_input_size(name: str, input_size: int) -> None:
    architecture = find_architecture(f"torchvision:{name}")
    assert (architecture.preprocessing.input_size, architecture.is_classifier) == (input_size, False)


@pytest.mark.parametrize(("name", "auxiliary"), [("googlenet", "aux"), ("inception_v3", "AuxLogits.")])
def test_classifiers_that_only_training_uses_may_be_missing(name: str, auxiliary: str) -> None:
    architecture = find_architecture(f"torchvision:{name}")
    tensors = architecture.build(3).state_dict()
    main = {name: tensor for name, tensor in tensors.items() if not name.startswith(auxiliary)}
    assert len(main) < len(tensors)
    inputs = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        outputs = [build_network(architecture, weights)(inputs) for weights in (tensors, main)]
    assert outputs[0].shape == (1, 3)
    assert torch.equal(*outputs)


@pytest.mark.parametrize("name", ["vgg", "torchvision:vgg", "torchvision:fasterrcnn", ""])
def test_an_unknown_architecture_is_named(name: str) -> None:
    with pytest.raises(NernError) as error:
        find_architecture(name)
    assert error.value.code == "unknown_architecture"


def test_a_built_network_is_frozen_and_in_evaluation_mode() -> None:
    architecture = find_architecture("digits-cnn")
    network = build_network(architecture, architecture.build(10).state_dict())
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("prefix", ["", "model._orig_mod."])
def test_an_mnasnet_takes_weights_that_come_without_the_versions_of_its_modules(prefix: str) -> None:
    architecture = find_architecture("torchvision:mnasnet0_5")
    tensors = {f"{prefix}{name}": tensor for name, tensor in architecture.build(3).state_dict().items()}
    network = build_network(architecture, tensors)
    assert torch.equal(network.state_dict()["classifier.1.weight"], tensors[f"{prefix}classifier.1.weight"])


def test_the_counters_of_batch_norm_may_be_missing() -> None:
    architecture = find_architecture("digits-cnn")
    tensors = {n: t for n, t in architecture.build(10).state_dict().items() if "num_batches" not in n}
    build_network(architecture, tensors)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"features.0.weight": None}, r"it has no tensor 'features\.0\.weight'"),
        ({"extra": torch.ones(1)}, "it has an extra tensor 'extra'"),
        ({"features.0.weight": torch.ones(32, 1, 3, 3)}, r"has shape \(32, 1, 3, 3\), not \(32, 3, 3, 3\)"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, torch.Tensor | None], sentence: str) -> None:
    architecture = find_architecture("digits-cnn")
    tensors = architecture.build(10).state_dict() | change
    with pytest.raises(NernError, match=sentence) as error:
        build_network(architecture, {name: tensor for name, tensor in tensors.items() if tensor is not None})
    assert error.value.code == "architecture_mismatch"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "accuracy"), [("resnet20", 91.73), ("resnet56", 93.39)])
def test_the_public_checkpoints_have_their_published_accuracy(
    real: RealCheckpoints, name: str, accuracy: float
) -> None:
    checkpoint = read_checkpoint(real.checkpoints / f"cifar10-{name}.th")
    assert evaluate_checkpoint(checkpoint, f"cifar-{name}", real.cifar10) == pytest.approx(accuracy, abs=0.02)


def test_a_copied_network_shares_nothing_and_keeps_what_is_shared_within() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    network.append(network[0])
    copied = copy_network(network)
    places = {tensor.data_ptr() for tensor in network.state_dict().values()}
    assert places.isdisjoint(tensor.data_ptr() for tensor in copied.state_dict().values())
    assert copied.get_submodule("2") is copied.get_submodule("0")
    assert network.training
    assert not copied.training
    assert not any(parameter.requires_grad for parameter in copied.parameters())


@pytest.mark.parametrize("name", ["./clf.py:Clf", "clf:Clf", "acme:nothing"])
def test_code_of_the_user_that_was_not_named_is_not_imported_and_that_is_said(name: str) -> None:
    with pytest.raises(NernError) as error:
        find_architecture(name)
    assert error.value.message == (
        f"No installed package has the architecture '{name}', and code of yours is imported only if you name it with "
        "`architecture`."
    )
