import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from nern_core.networks.detection.heads import is_detector
from nern_core.networks.model_inputs import call
from nern_core.networks.outputs import OutputReader, reader_of
from tests.nern_core.tiny_detectors import CLASSES, tiny_rcnn, tiny_retinanet

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
# One level of 8 x 8 locations; six shapes of anchors in the first stage, one for a single stage.
LOCATIONS = 64


@torch.no_grad()
def reader_for(network: nn.Module, *wanted: str) -> OutputReader:
    return reader_of(network, lambda: call(network, IMAGES), wanted)


def test_a_detection_network_is_known_by_its_class() -> None:
    assert is_detector(tiny_rcnn())
    assert is_detector(tiny_retinanet())
    assert not is_detector(nn.Linear(2, 2))


def test_two_stages_are_compared_on_the_same_boxes() -> None:
    network = tiny_rcnn()
    found = reader_for(network).named(network, lambda: call(network, IMAGES))
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        "objectness": (2, 6 * LOCATIONS),
        "pred_bbox_deltas": (2, 4 * 6 * LOCATIONS),
        "class_logits": (2 * 64, CLASSES),
        "box_regression": (2 * 64, 4 * CLASSES),
    }
    # Other proposals of the first stage do not change the boxes of the second one.
    changed = copy.deepcopy(network)
    nn.init.normal_(changed.get_parameter("rpn.head.bbox_pred.weight"))
    others = reader_for(network).named(changed, lambda: call(changed, IMAGES))
    assert torch.equal(others["class_logits"], found["class_logits"])
    assert not torch.equal(others["pred_bbox_deltas"], found["pred_bbox_deltas"])


def test_a_single_stage_is_compared_by_its_head() -> None:
    network = tiny_retinanet()
    found = reader_for(network).named(network, lambda: call(network, IMAGES))
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        "cls_logits": (2, LOCATIONS, CLASSES),
        "bbox_regression": (2, LOCATIONS, 4),
    }


@pytest.mark.parametrize("make", [tiny_rcnn, tiny_retinanet])
def test_every_weight_is_taught(make: Callable[[], nn.Module]) -> None:
    network = make()
    reader_for(network).read(network, lambda: call(network, IMAGES)).square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


def test_outputs_and_modules_can_be_chosen() -> None:
    network = tiny_rcnn()
    assert reader_for(network, "backbone", "class_logits").names == ("backbone", "class_logits")


def test_the_network_itself_still_returns_boxes() -> None:
    network = tiny_rcnn()
    reader_for(network)
    with torch.no_grad():
        assert [set(found) for found in network(IMAGES)] == [{"boxes", "labels", "scores"}] * 2
