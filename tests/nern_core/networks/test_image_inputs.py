from pathlib import Path

import pytest
import torch

from nern_core.networks.architecture import Preprocessing
from nern_core.networks.dataset_files import write_dataset_file
from nern_core.networks.datasets import has_labels, read_image_set, to_inputs
from nern_core.networks.image_inputs import read_image_inputs
from tests.image_data import class_folders, png, shades, write

PREPROCESSING = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), input_size=8)


def flat(folder: Path, count: int) -> None:
    """Write images without classes."""
    for number in range(count):
        write(folder / f"{number:03}.png", png(number))


def test_images_become_shuffled_batches_of_normalized_inputs(tmp_path: Path) -> None:
    flat(tmp_path / "train", 40)
    flat(tmp_path / "test", 3)
    found = read_image_inputs(tmp_path, PREPROCESSING)
    assert [batch.examples for batch in found.training] == [32, 8]
    assert [batch.examples for batch in found.held_out] == [3]
    train = torch.cat([torch.as_tensor(batch.inputs) for batch in found.training])
    order = ((train[:, 0, 0, 0] * 0.5 + 0.5) * 255).round().int().tolist()
    assert sorted(order) == list(range(40)) != order
    pixels = torch.tensor(order, dtype=torch.uint8)[:, None, None, None].expand(40, 3, 8, 8)
    assert torch.equal(train, to_inputs(pixels, PREPROCESSING))
    assert all(batch.labels is None for batch in (*found.training, *found.held_out))


def test_labels_are_kept_for_networks_that_are_no_classifiers_of_images(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"a": 2, "b": 2})
    class_folders(tmp_path / "test", {"a": 1, "b": 1})
    found = read_image_inputs(tmp_path, PREPROCESSING)
    assert [
        sorted(batch.labels.tolist()) for batch in (*found.training, *found.held_out) if batch.labels is not None
    ] == [
        [0, 0, 1, 1],
        [0, 1],
    ]


def test_a_file_without_labels_keeps_that_there_are_none(tmp_path: Path) -> None:
    flat(tmp_path / "images", 5)
    notes = write_dataset_file(tmp_path / "images", tmp_path / "one.safetensors")
    assert notes[-1] == "There are no labels: jobs compare outputs with those of the original, and measure no accuracy."
    assert not has_labels(tmp_path / "one.safetensors")
    found = read_image_inputs(tmp_path / "one.safetensors", PREPROCESSING)
    original = read_image_inputs(tmp_path / "images", PREPROCESSING)
    for batches in zip((*found.training, *found.held_out), (*original.training, *original.held_out), strict=True):
        assert torch.equal(*(torch.as_tensor(batch.inputs) for batch in batches))


@pytest.mark.parametrize("size", [0, 16])
def test_image_files_are_written_into_one_file_in_the_size_of_the_images_or_a_given_one(
    tmp_path: Path, size: int
) -> None:
    class_folders(tmp_path / "images", {"a": 5, "b": 5})
    notes = write_dataset_file(tmp_path / "images", tmp_path / "one.safetensors", size)
    assert len(notes) == 1
    for split in ("train", "test"):
        packed = read_image_set(tmp_path / "one.safetensors", split)
        original = read_image_set(tmp_path / "images", split)
        assert packed.images.shape[2:] == (size or 8, size or 8)
        assert shades(packed.images) == shades(original.images)
        assert torch.equal(packed.labels, original.labels)
