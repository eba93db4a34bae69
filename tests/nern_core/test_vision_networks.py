"""torchvision's networks that are no classifiers of images are encoded: without data, with images, and with arrays."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nern_core import EncodeOptions, encode
from nern_core.contract.catalogue import RecipeName
from nern_core.contract.errors import NernError
from nern_core.networks import find_architecture
from tests.nern_core.tiny_detectors import tiny_rcnn

GENERATOR = np.random.default_rng(0)
CLASSES = 4


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder of five images of 64 pixels, one of which is held out."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(5):
        pixels = GENERATOR.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "dataset.json").write_text('{"input_size": 64}')
    return folder


def checkpoint(folder: Path, name: str) -> Path:
    """Save fresh weights."""
    torch.manual_seed(0)
    network = find_architecture(f"torchvision:{name}").build(CLASSES)
    torch.save(network.state_dict(), folder / "network.pt")
    return folder / "network.pt"


@pytest.mark.slow
@pytest.mark.gate
def test_a_detection_network_learns_the_boxes_of_its_original(tmp_path: Path) -> None:
    torch.manual_seed(0)
    batches = [torch.rand(4, 3, 32, 32) for _ in range(6)]
    options = EncodeOptions(steps=40, target_ratio=6)
    metrics = encode(tiny_rcnn(), tmp_path / "x.nern", options, inputs=batches).report.metrics
    assert metrics.fidelity is not None
    assert metrics.fidelity.box_f1 is not None
    assert metrics.fidelity.box_f1 > 60
    assert metrics.fidelity.agreement is None
    assert metrics.verdict is not None
    assert metrics.verdict.sentence.startswith(
        "On 2 held-out inputs, the boxes match the original's with an F1 score of "
    )


@pytest.mark.slow
def test_a_detection_network_takes_lists_of_images_with_targets(tmp_path: Path) -> None:
    torch.manual_seed(0)
    targets: list[dict[str, torch.Tensor]] = [{}, {}]
    batches = [([torch.rand(3, 32, 32), torch.rand(3, 24, 32)], targets) for _ in range(3)]
    report = encode(tiny_rcnn(), tmp_path / "x.nern", EncodeOptions(steps=3, target_ratio=4), inputs=batches).report
    assert report.metrics.fidelity is not None
    assert report.metrics.fidelity.examples == 2
    assert report.curve


@pytest.mark.slow
def test_a_detection_network_is_encoded_with_a_folder_of_images(tmp_path: Path, images: Path) -> None:
    name = "ssdlite320_mobilenet_v3_large"
    options = EncodeOptions(architecture=f"torchvision:{name}", dataset=str(images), steps=2, target_ratio=6)
    report = encode(checkpoint(tmp_path, name), tmp_path / "x.nern", options).report
    assert report.metrics.fidelity is not None
    assert {output.name for output in report.metrics.fidelity.outputs} == {"cls_logits", "bbox_regression"}
    assert report.metrics.original_accuracy is None
    assert report.curve


@pytest.mark.slow
def test_a_segmentation_network_is_measured_by_its_masks(tmp_path: Path, images: Path) -> None:
    name = "lraspp_mobilenet_v3_large"
    options = EncodeOptions(architecture=f"torchvision:{name}", dataset=str(images), steps=2, target_ratio=6)
    metrics = encode(checkpoint(tmp_path, name), tmp_path / "x.nern", options).report.metrics
    assert metrics.fidelity is not None
    assert [output.name for output in metrics.fidelity.outputs] == ["out"]
    assert metrics.fidelity.agreement is not None
    assert metrics.fidelity.agreement > 90
    assert metrics.fidelity.mean_iou is not None
    assert metrics.verdict is not None
    assert "% of the pixels have the original's class, and the mean IoU is " in metrics.verdict.sentence


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_video_network_is_encoded_with_clips_and_their_labels(tmp_path: Path) -> None:
    clips = GENERATOR.normal(size=(10, 3, 4, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "clips.npz", inputs=clips, labels=np.zeros(10, np.int64))
    options = EncodeOptions(
        architecture="torchvision:mc3_18", dataset=str(tmp_path / "clips.npz"), steps=2, target_ratio=6
    )
    metrics = encode(checkpoint(tmp_path, "mc3_18"), tmp_path / "x.nern", options).report.metrics
    assert metrics.original_accuracy is not None
    assert metrics.fidelity is not None
    assert metrics.fidelity.agreement is not None


@pytest.mark.slow
def test_optical_flow_takes_pairs_of_images(tmp_path: Path) -> None:
    first, second = (GENERATOR.random((2, 3, 128, 128), dtype=np.float32) for _ in range(2))
    np.savez(tmp_path / "pairs.npz", **{"inputs.image1": first, "inputs.image2": second})  # type: ignore[arg-type]
    options = EncodeOptions(
        architecture="torchvision:raft_small",
        dataset=str(tmp_path / "pairs.npz"),
        steps=1,
        target_ratio=6,
        outputs=("11",),
    )
    metrics = encode(checkpoint(tmp_path, "raft_small"), tmp_path / "x.nern", options).report.metrics
    assert metrics.fidelity is not None
    assert [output.name for output in metrics.fidelity.outputs] == ["11"]


@pytest.mark.slow
def test_images_are_not_made_from_a_network_that_is_no_classifier(tmp_path: Path) -> None:
    name = "lraspp_mobilenet_v3_large"
    options = EncodeOptions(architecture=f"torchvision:{name}", recipe=RecipeName.DATA_FREE)
    metrics = encode(checkpoint(tmp_path, name), tmp_path / "x.nern", options).report.metrics
    assert metrics.notes == (
        "No images were made, because that is possible for classifiers of images only; give a `dataset`.",
    )
    assert metrics.relative_error < 0.02


@pytest.mark.parametrize("name", ["mc3_18", "raft_small"])
def test_images_are_refused_for_a_network_that_takes_other_inputs(tmp_path: Path, images: Path, name: str) -> None:
    options = EncodeOptions(architecture=f"torchvision:{name}", dataset=str(images), steps=2)
    with pytest.raises(NernError, match=rf"torchvision:{name} does not accept images of 64 x 64 pixels") as error:
        encode(checkpoint(tmp_path, name), tmp_path / "x.nern", options)
    assert error.value.code == "bad_data"
