"""Encodings with data sets of image files: the same as with arrays, and without labels by the fidelity alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nern_core import EncodeOptions, encode
from nern_core.analysis.comparison import open_comparison
from nern_core.analysis.report.files import measure_comparison
from nern_core.contract.errors import NernError
from nern_core.contract.options import ANY_ARCHITECTURE
from nern_core.networks.own_code import import_architecture
from nern_core.networks.registry import register_architecture
from tests.conftest import DIGITS, EXAMPLE
from tests.image_data import encoded, write

IMAGES = 60


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some digits as image files: `classes/train/LABEL/*.png` and `flat/train/*.png`, the same for `test`."""
    root = tmp_path_factory.mktemp("digits")
    for split in ("train", "test"):
        with np.load(DIGITS / f"{split}.npz") as file:
            for number, (pixels, label) in enumerate(
                zip(file["images"][:IMAGES], file["labels"][:IMAGES], strict=True)
            ):
                content = encoded(Image.fromarray(pixels))
                write(root / "classes" / split / str(label) / f"{number}.png", content)
                write(root / "flat" / split / f"{number}.png", content)
    return root


def test_labelled_images_give_accuracies(folders: Path, tmp_path: Path) -> None:
    options = EncodeOptions(architecture="digits-cnn", dataset=str(folders / "classes"), steps=5, target_ratio=8)
    metrics = encode(EXAMPLE, tmp_path / "x.nern", options).report.metrics
    assert metrics.original_accuracy == pytest.approx(100 * 59 / 60)  # that of the same images as arrays
    assert metrics.reconstructed_accuracy is not None
    assert metrics.fidelity is not None
    assert metrics.fidelity.examples == IMAGES


def test_unlabelled_images_train_the_encoding_and_measure_its_fidelity(folders: Path, tmp_path: Path) -> None:
    options = EncodeOptions(architecture="digits-cnn", dataset=str(folders / "flat"), steps=5, target_ratio=8)
    report = encode(EXAMPLE, tmp_path / "x.nern", options).report
    metrics = report.metrics
    assert (metrics.original_accuracy, metrics.reconstructed_accuracy) == (None, None)
    assert metrics.fidelity is not None
    assert metrics.fidelity.examples == IMAGES
    assert metrics.fidelity.agreement is not None
    assert metrics.fidelity.agreement > 80
    assert report.curve


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"max_drop": 1.0}, "`max_drop` needs a classifier and a data set of labelled images; omit it."),
        ({"fail_over": 1.0}, "`fail_over` needs labels; omit it."),
        (
            {"direct_quantization": True},
            "`direct_quantization` needs a classifier and a data set of labelled images; omit it.",
        ),
    ],
)
def test_options_that_need_labels_are_refused_without_them(
    folders: Path, tmp_path: Path, option: dict[str, float | bool], sentence: str
) -> None:
    options = EncodeOptions.model_validate(
        {"architecture": "digits-cnn", "dataset": str(folders / "flat"), "steps": 5, **option}
    )
    with pytest.raises(NernError) as error:
        encode(EXAMPLE, tmp_path / "x.nern", options)
    assert (error.value.code, error.value.message) == ("needs_images", sentence)


def test_how_the_images_were_read_is_in_the_notes(folders: Path, tmp_path: Path) -> None:
    options = EncodeOptions(architecture="digits-cnn", dataset=str(folders / "flat" / "test"), steps=3, target_ratio=8)
    notes = encode(EXAMPLE, tmp_path / "x.nern", options).report.metrics.notes
    assert any("has no separate test images: of 60 images, 12 were held out" in note for note in notes)


def test_a_network_that_is_no_classifier_gets_images_as_inputs(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "blur.py").write_text(
        "from torch import nn\n\n\nclass Blur(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 32, 3, padding=1)\n        self.back = nn.Conv2d(32, 3, 3, padding=1)\n\n"
        "    def forward(self, images):\n        return {'image': self.back(self.conv(images).relu())}\n"
    )
    name = f"{tmp_path}/blur.py:Blur"
    torch.manual_seed(0)
    architecture = import_architecture(name)
    assert architecture is not None
    register_architecture(architecture)
    torch.save(architecture.build(0).state_dict(), tmp_path / "blur.pt")
    options = EncodeOptions.model_validate(
        {"architecture": name, "dataset": str(folders / "classes"), "steps": 5, "target_ratio": 5},
        context=[ANY_ARCHITECTURE],
    )
    metrics = encode(tmp_path / "blur.pt", tmp_path / "x.nern", options).report.metrics
    assert metrics.fidelity is not None
    assert [output.name for output in metrics.fidelity.outputs] == ["image"]
    assert metrics.fidelity.outputs[0].relative_error < 0.5
    assert any("pixels from 0 to 1, without normalization; a dataset.json" in note for note in metrics.notes)


def test_labelled_images_can_be_compared_by_outputs_within_the_network(folders: Path, tmp_path: Path) -> None:
    options = EncodeOptions(
        architecture="digits-cnn", dataset=str(folders / "classes"), steps=3, target_ratio=8, outputs=("features",)
    )
    metrics = encode(EXAMPLE, tmp_path / "x.nern", options).report.metrics
    assert metrics.fidelity is not None
    assert [output.name for output in metrics.fidelity.outputs] == ["features"]
    assert metrics.original_accuracy == pytest.approx(100 * 59 / 60)
    assert not any("without normalization" in note for note in metrics.notes)


@pytest.mark.parametrize("has_labels", [True, False])
def test_a_report_measures_arrays_as_the_encoding_did(tmp_path: Path, has_labels: bool) -> None:
    with np.load(DIGITS / "test.npz") as file:
        inputs = (file["images"][:IMAGES].transpose(0, 3, 1, 2) / np.float32(127.5) - 1).astype(np.float32)
        labels = {"labels": file["labels"][:IMAGES].astype(np.int64)} if has_labels else {}
    np.savez(tmp_path / "x.npz", inputs=inputs, **labels)
    options = EncodeOptions(architecture="digits-cnn", dataset=str(tmp_path / "x.npz"), steps=3, target_ratio=8)
    trained = encode(EXAMPLE, tmp_path / "x.nern", options).report
    comparison = open_comparison(EXAMPLE, tmp_path / "x.nern")
    report = measure_comparison(comparison, dataset=tmp_path / "x.npz").report
    assert report.metrics.fidelity == trained.metrics.fidelity
    assert report.metrics.original_accuracy == trained.metrics.original_accuracy
    assert {alternative.accuracy is not None for alternative in report.alternatives} == {has_labels}
