import pytest
import torch
from torch import Tensor, nn

from nern_core.networks.outputs import reader_of
from nern_core.networks.segmentation import PixelMeter, output_of_classes
from nern_core.networks.torchvision_models import import_models

import_models()


def tiny_network() -> nn.Module:
    from torchvision.models.segmentation.fcn import FCN

    class Backbone(nn.Module):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"out": images, "aux": images}

    network: nn.Module = FCN(Backbone(), nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)).eval().requires_grad_(False)
    return network


def logits(classes: list[int]) -> Tensor:
    """Return the logits of one image with a row of these classes, out of three."""
    return torch.eye(3)[torch.tensor(classes)].T[None, :, None]


def test_pixels_agree_if_their_classes_are_the_same() -> None:
    meter = PixelMeter()
    meter.add(logits([0, 0, 0, 0]), logits([0, 0, 0, 1]))
    meter.add(logits([1, 1]), logits([1, 1]))
    assert meter.agreement == pytest.approx(100 * 5 / 6)
    # The class 0 has 3 of 4 pixels, the class 1 has 2 of 3, and no pixel has the class 2.
    assert meter.mean_iou == pytest.approx(100 * (3 / 4 + 2 / 3) / 2)


def test_a_class_that_only_one_network_finds_has_no_overlap() -> None:
    meter = PixelMeter()
    meter.add(logits([0, 0]), logits([0, 2]))
    assert meter.mean_iou == pytest.approx(25)


def test_nothing_is_measured_without_masks() -> None:
    assert (PixelMeter().agreement, PixelMeter().mean_iou) == (None, None)
    assert output_of_classes(nn.Linear(2, 2)) is None


def test_networks_of_transformers_are_known_by_their_names() -> None:
    kind = type("TinyForSemanticSegmentation", (nn.Linear,), {})
    assert output_of_classes(kind(2, 2)) == "logits"


def test_the_auxiliary_output_is_compared_only_if_it_is_named() -> None:
    network, images = tiny_network(), torch.rand(1, 3, 8, 8)
    assert output_of_classes(network) == "out"
    assert reader_of(network, lambda: network(images)).names == ("out",)
    assert reader_of(network, lambda: network(images), ["aux"]).names == ("aux",)
