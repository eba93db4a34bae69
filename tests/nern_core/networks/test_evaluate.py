from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nern_core.contract.errors import NernError
from nern_core.networks import build_network, find_architecture
from nern_core.networks.datasets import read_image_set, to_inputs
from nern_core.networks.evaluate import evaluate_checkpoint, open_evaluator, refuse_input_size
from nern_core.networks.labels import refuse_labels
from nern_core.networks.registry import WeightlessModules
from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import DIGITS, EXAMPLE


def test_accuracy_is_the_share_of_images_whose_largest_logit_is_at_their_label() -> None:
    architecture = find_architecture("digits-cnn")
    tensors = read_checkpoint(EXAMPLE).tensors
    split = read_image_set(DIGITS, "test")
    with torch.no_grad():
        logits = build_network(architecture, tensors)(to_inputs(split.images, architecture.preprocessing))
    expected = 100 * float((logits.argmax(dim=1) == split.labels).double().mean())
    assert open_evaluator("digits-cnn", DIGITS).accuracy(tensors) == pytest.approx(expected)
    assert evaluate_checkpoint(read_checkpoint(EXAMPLE), "digits-cnn", DIGITS) == pytest.approx(expected)


def test_fewer_images_are_spread_evenly_over_the_split(random_dataset: Path) -> None:
    split = read_image_set(random_dataset, "test")
    some = open_evaluator("digits-cnn", random_dataset, images=20).images
    assert len(some) == 20
    assert torch.equal(
        some.labels, split.labels[[0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27, 30, 32, 35, 37, 40, 42, 45, 47]]
    )
    assert len(open_evaluator("digits-cnn", random_dataset, images=1000).images) == len(split)


def test_tensors_of_another_network_are_refused(random_dataset: Path) -> None:
    with pytest.raises(NernError, match="does not fit"):
        open_evaluator("cifar-resnet20", random_dataset).accuracy(read_checkpoint(EXAMPLE).tensors)


@pytest.mark.parametrize(("label", "named"), [(-1, "-1"), (10, "10")])
def test_a_label_that_is_no_class_is_named(label: int, named: str) -> None:
    with pytest.raises(NernError, match=f"has the label {named}, but the network has 10 classes, from 0 to 9") as error:
        refuse_labels(torch.tensor([8, label, 3]), 10)
    assert error.value.code == "bad_data"


def test_a_size_of_images_that_the_network_does_not_take_is_refused() -> None:
    architecture = find_architecture("torchvision:alexnet")
    preprocessing = replace(architecture.preprocessing, input_size=8)
    with WeightlessModules():
        network = architecture.build(3)
    network = network.to_empty(device="cpu").eval()
    with pytest.raises(NernError, match="an `input_size` of 8, which torchvision:alexnet does not accept") as error:
        refuse_input_size(network, architecture, preprocessing)
    assert error.value.code == "bad_data"
