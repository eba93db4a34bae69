from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nern_core.networks.architecture import UNCHANGED, Preprocessing
from nern_core.networks.datasets import dataset_preprocessing, read_image_set, read_pixels
from nern_core.networks.registry import find_architecture
from tests.image_data import class_folders, encoded, image, shades, write

LARGE = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1), input_size=16)


def test_images_have_the_size_that_the_network_takes(tmp_path: Path) -> None:
    for number, size in enumerate([(40, 30), (20, 60), (16, 16), (5, 5)]):
        write(tmp_path / f"{number}.png", encoded(image(number, size)))
    found = [read_pixels(tmp_path, split, LARGE).images for split in ("train", "test")]
    assert {tuple(images.shape[1:]) for images in found} == {(3, 16, 16)}
    assert sorted(shades(torch.cat(found))) == [0, 1, 2, 3]


def test_without_a_known_size_images_keep_theirs_if_they_all_have_the_same(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 2, "b": 2})
    assert dataset_preprocessing(tmp_path, UNCHANGED).input_size == 8
    assert read_image_set(tmp_path, "train").images.shape == (3, 3, 8, 8)
    write(tmp_path / "a" / "wide.png", encoded(image(0, (300, 250))))
    assert dataset_preprocessing(tmp_path, UNCHANGED).input_size == 224


def test_a_file_beside_the_images_sets_their_size(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 2, "b": 2})
    write(tmp_path / "dataset.json", b'{"input_size": 32, "mean": [0, 0, 0]}')
    preprocessing = dataset_preprocessing(tmp_path, LARGE)
    assert (preprocessing.input_size, preprocessing.mean) == (32, (0, 0, 0))
    assert read_image_set(tmp_path, "train", preprocessing).images.shape == (3, 3, 32, 32)


def test_more_images_than_fit_into_memory_are_sampled_evenly_and_a_note_says_so(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"a": 6, "b": 6})
    class_folders(tmp_path / "test", {"a": 1, "b": 1})
    found = read_pixels(tmp_path, "train", most_bytes=4 * 3 * 8 * 8)
    assert shades(found.images) == [0, 3, 6, 9]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert found.notes == ("Of 12 images of the train split, 4 were used, evenly spaced: more do not fit into memory.",)


@pytest.mark.parametrize(
    ("name", "size", "share"),
    [
        ("torchvision:resnet18", 224, 224 / 256),
        ("torchvision:inception_v3", 299, 299 / 342),
        ("timm:test_vit", 160, 0.95),
    ],
)
def test_the_crop_is_that_of_the_network_s_own_preprocessing(name: str, size: int, share: float) -> None:
    preprocessing = find_architecture(name).preprocessing
    assert (preprocessing.input_size, preprocessing.crop_share) == (size, share)


def test_many_images_keep_their_order(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (150, 2, 2, 3), dtype=np.uint8)
    for number, one in enumerate(pixels):
        write(tmp_path / "train" / f"{number:03}.png", encoded(Image.fromarray(one)))
        write(tmp_path / "test" / f"{number:03}.png", encoded(Image.fromarray(one)))
    assert np.array_equal(read_pixels(tmp_path, "train").images.permute(0, 2, 3, 1).numpy(), pixels)
