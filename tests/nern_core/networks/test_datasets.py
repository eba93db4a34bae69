import io
import json
import math
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from nern_core.contract.errors import NernError
from nern_core.networks import Augmentation, Preprocessing, find_architecture
from nern_core.networks.dataset_files import write_dataset_file
from nern_core.networks.datasets import augment, dataset_preprocessing, read_image_set, to_inputs
from tests.conftest import DIGITS

PLAIN = Preprocessing(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0), input_size=4)


def test_reads_images_as_channels_first_with_their_labels(tmp_path: Path) -> None:
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    np.savez(tmp_path / "train.npz", images=images, labels=np.array([3, 1], dtype=np.uint8))
    found = read_image_set(tmp_path, "train")
    assert torch.equal(found.images, torch.from_numpy(images).permute(0, 3, 1, 2))
    assert (found.labels.tolist(), found.labels.dtype) == ([3, 1], torch.int64)


IMAGES, LABELS = np.zeros((2, 4, 4, 3), dtype=np.uint8), np.zeros(2, dtype=np.int64)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"images": IMAGES}, "not an .npz file with `images` and `labels`"),
        ({"images": IMAGES.astype(np.float32), "labels": LABELS}, "must be uint8 of shape N x H x W x 3, not float32"),
        ({"images": IMAGES[..., :1], "labels": LABELS}, r"not uint8 \(2, 4, 4, 1\)"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "must be uint8"),
        ({"images": IMAGES, "labels": LABELS[:1]}, "one integer for each of 2 images"),
        ({"images": IMAGES, "labels": LABELS.astype(np.float64)}, "one integer for each of 2 images"),
        ({"images": np.array([{}], dtype=object), "labels": LABELS}, "not an .npz file"),
    ],
)
def test_other_contents_are_explained(tmp_path: Path, content: dict[str, Any], sentence: str) -> None:
    np.savez(tmp_path / "test.npz", **content)
    with pytest.raises(NernError, match=sentence) as error:
        read_image_set(tmp_path, "test")
    assert error.value.code == "bad_data"


def test_a_missing_or_broken_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(NernError, match="There is no data set in the folder") as error:
        read_image_set(tmp_path, "test")
    assert error.value.code == "missing_data"
    with pytest.raises(NernError, match="There is no folder or file '/nope'") as error:
        read_image_set(Path("/nope"), "test")
    assert error.value.code == "missing_data"
    (tmp_path / "train.npz").touch()
    with pytest.raises(NernError, match=r"There is no test\.npz in the folder '.*', beside the other split\."):
        read_image_set(tmp_path, "test")
    (tmp_path / "test.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(NernError, match="not an .npz file"):
        read_image_set(tmp_path, "test")


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 64]) + content[middle + 64 :]


HUGE = (10**9, 32, 32, 3)


def claim(path: Path, *, size: int | None = None, compression: int = zipfile.ZIP_DEFLATED) -> None:
    """Write an `.npz` file whose images claim terabytes, and their member `size` bytes in the list of the archive."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": HUGE})
    labels = io.BytesIO()
    np.save(labels, LABELS)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(8))
        archive.writestr("labels.npy", labels.getvalue())
        if size is not None:
            archive.getinfo("images.npy").file_size = size


SIZE_OF_HEADER = 128
CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "short": ({}, "`images` claims 3,072,000,000,000 bytes and has 8"),
    "stored": ({"compression": zipfile.ZIP_STORED}, "`images` claims 3,072,000,000,000 bytes and has 8"),
    "consistent": (
        {"size": math.prod(HUGE) + SIZE_OF_HEADER},
        r"`images` claims 3,072,000,000,000 bytes, but its member can have at most [0-9,]{4,7}",
    ),
}


@pytest.mark.parametrize(("changes", "sentence"), CLAIMS.values(), ids=CLAIMS)
def test_images_that_claim_more_than_the_file_holds_are_refused_before_they_are_allocated(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    claim(tmp_path / "test.npz", **changes)
    assert (tmp_path / "test.npz").stat().st_size < 1000
    with pytest.raises(NernError, match=f"is not an .npz file with `images` and `labels`: {sentence}") as error:
        read_image_set(tmp_path, "test")
    assert error.value.code == "bad_data"


def npy(header: str, version: bytes = b"\x01\x00", length: int | None = None) -> bytes:
    """Return the beginning of an array's member with this header."""
    size = (len(header) if length is None else length).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + size + header.encode()


def saved(array: np.ndarray) -> bytes:
    member = io.BytesIO()
    np.save(member, array)
    return member.getvalue()


def shaped(shape: str) -> str:
    return f"{{'descr':'|u1','fortran_order':False,'shape':{shape}}}\n"


HUGE_MEMBER = npy(shaped(str(HUGE))) + bytes(8)
MEMBERS = {
    "two of one name": ([("images.npy", saved(IMAGES)), ("images.npy", HUGE_MEMBER)], "it has 2 arrays `images`"),
    "two of one array": ([("images.npy", saved(IMAGES)), ("images", HUGE_MEMBER)], "it has 2 arrays `images`"),
    "signs": ([("images.npy", npy(shaped("-" * 9000 + "1")))], "the header of `images` nests too deeply"),
    "long header": (
        [("images.npy", npy("", b"\x02\x00", 2**31) + bytes(10**7))],
        "the header of `images` is longer than 10,000 bytes",
    ),
    "digits": ([("images.npy", npy(shaped(f"({'9' * 4000},{'9' * 4000})")))], "`images` claims an impossible shape"),
    "negative": ([("images.npy", npy(shaped("(-2,-4,4,3)")) + bytes(96))], "`images` claims an impossible shape"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("members", "sentence"), MEMBERS.values(), ids=MEMBERS)
def test_members_that_numpy_would_not_write_are_refused_before_it_reads_them(
    tmp_path: Path, members: list[tuple[str, bytes]], sentence: str
) -> None:
    with zipfile.ZipFile(tmp_path / "test.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in [*members, ("labels.npy", saved(LABELS))]:
            archive.writestr(name, content)
    with pytest.raises(NernError, match=f"is not an .npz file with `images` and `labels`: {sentence}") as error:
        read_image_set(tmp_path, "test")
    assert error.value.code == "bad_data"


def test_images_of_one_colour_compress_far_and_are_read(tmp_path: Path) -> None:
    images = np.zeros((1000, 32, 32, 3), dtype=np.uint8)
    np.savez_compressed(tmp_path / "train.npz", images=images, labels=np.zeros(1000, dtype=np.uint8))
    assert (tmp_path / "train.npz").stat().st_size * 500 < images.nbytes
    assert len(read_image_set(tmp_path, "train")) == 1000


@pytest.fixture
def broken_folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The digits, with a train.npz that is broken as requested."""
    folder = tmp_path / "broken"
    shutil.copytree(DIGITS, folder)
    path = folder / "train.npz"
    match request.param:
        case "empty":
            path.write_bytes(b"")
        case "npy":
            with path.open("wb") as file:
                np.save(file, IMAGES)
        case "flipped":
            arrays = dict(np.load(path))
            np.savez_compressed(path, **arrays)
            path.write_bytes(_flipped(path.read_bytes()))
        case "cut":
            path.write_bytes(path.read_bytes()[:-100])
        case "negative":
            np.savez(path, images=IMAGES, labels=np.array([8, -1]))
        case "unsigned":
            np.savez(path, images=IMAGES, labels=np.array([8, 2**63], dtype=np.uint64))
    return folder


BROKEN = {
    "empty": r"'.*train\.npz' is an empty file",
    "npy": r"'.*train\.npz' holds one array \(\.npy\)",
    "flipped": r"'.*train\.npz' is not an \.npz file with `images` and `labels`: ",
    "cut": r"'.*train\.npz' is not an \.npz file with `images` and `labels`: ",
    "negative": r"'.*train\.npz' has the label -1",
    "unsigned": r"'.*train\.npz' has the label 9223372036854775808;",
}


@pytest.mark.parametrize(("broken_folder", "sentence"), BROKEN.items(), indirect=["broken_folder"])
def test_a_broken_file_is_named_in_one_sentence(broken_folder: Path, sentence: str) -> None:
    for read in (
        lambda: read_image_set(broken_folder, "train"),
        lambda: write_dataset_file(broken_folder, broken_folder / "one.safetensors"),
    ):
        with pytest.raises(NernError, match=f"^{sentence}") as error:
            read()
        assert error.value.code == "bad_data"
        assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ({"input_size": 1}, "'input_size' is invalid .*greater than or equal to 8"),
        ({"input_size": 100_000}, "'input_size' is invalid .*less than or equal to 1024"),
        ({"crop_padding": 100_000}, "'crop_padding' is invalid .*less than or equal to 1024"),
        ({"crop_padding": 33}, "`crop_padding` of 33; use at most the 32 pixels of `input_size`"),
        ({"crop_padding": -1}, "'crop_padding' is invalid .*greater than or equal to 0"),
    ],
)
def test_an_override_out_of_its_bounds_is_refused_with_them(
    tmp_path: Path, override: dict[str, int], sentence: str
) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(override))
    with pytest.raises(NernError, match=sentence) as error:
        dataset_preprocessing(tmp_path, find_architecture("cifar-resnet20").preprocessing)
    assert error.value.code == "bad_data"


def test_a_negative_label_in_one_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "digits.safetensors"
    write_dataset_file(DIGITS, path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # not a mapping
    tensors["test.labels"][3] = -7
    save_file(tensors, path)
    with pytest.raises(NernError, match=r"'.*digits\.safetensors' has the label -7"):
        read_image_set(path, "test")


def test_inputs_are_scaled_to_one_and_normalized() -> None:
    inputs = to_inputs(torch.full((1, 3, 4, 4), 255, dtype=torch.uint8), PLAIN)
    assert inputs[0, :, 0, 0].tolist() == [1.0, 3.0, 1.0]


def test_inputs_are_resized_to_what_the_architecture_takes() -> None:
    assert to_inputs(torch.zeros(2, 3, 8, 6, dtype=torch.uint8), PLAIN).shape == (2, 3, 4, 4)


def test_augmentation_shifts_by_the_padding_and_mirrors() -> None:
    augmented = Preprocessing(
        mean=(0, 0, 0), std=(1, 1, 1), input_size=3, augmentation=Augmentation(crop_padding=1, horizontal_flip=True)
    )
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3).expand(1, 3, 3, 3)
    padded = torch.nn.functional.pad(image, (1,) * 4)
    crops = [padded[0, :, r : r + 3, c : c + 3] for r in range(3) for c in range(3)]
    possible = {tuple(view.flatten().tolist()) for crop in crops for view in (crop, crop.flip(2))}
    results = augment(image.expand(500, 3, 3, 3), augmented, torch.Generator().manual_seed(0))
    assert {tuple(result.flatten().tolist()) for result in results} == possible


def test_without_augmentation_images_stay_as_they_are() -> None:
    images = torch.arange(48, dtype=torch.uint8).reshape(1, 3, 4, 4)
    assert torch.equal(augment(images, PLAIN, torch.Generator()), images)


def test_a_file_beside_the_data_overrides_the_preprocessing(tmp_path: Path) -> None:
    assert dataset_preprocessing(tmp_path, PLAIN) == PLAIN
    (tmp_path / "dataset.json").write_text(json.dumps({"mean": [0, 0, 0], "crop_padding": 2}))
    found = dataset_preprocessing(tmp_path, PLAIN)
    assert found == Preprocessing(
        mean=(0, 0, 0), std=PLAIN.std, input_size=4, augmentation=Augmentation(crop_padding=2)
    )


@pytest.mark.parametrize("text", ["{", "[]", '{"mean": [1]}', '{"std": [0, 1, 1]}', '{"crop_padding": -1}', '{"x": 1}'])
def test_an_override_that_does_not_fit_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(NernError, match=r"dataset\.json' is invalid") as error:
        dataset_preprocessing(tmp_path, PLAIN)
    assert error.value.code == "bad_data"


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_file_holds_what_the_folder_that_it_was_made_of_does(tmp_path: Path, split: str) -> None:
    write_dataset_file(DIGITS, tmp_path / "digits")
    in_folder, in_file = read_image_set(DIGITS, split), read_image_set(tmp_path / "digits", split)
    assert torch.equal(in_file.images, in_folder.images)
    assert torch.equal(in_file.labels, in_folder.labels)
    assert in_file.labels.dtype == torch.int64


def test_the_same_folder_makes_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_dataset_file(DIGITS, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_file_overrides_the_preprocessing_as_its_folder_does(tmp_path: Path) -> None:
    shutil.copytree(DIGITS, tmp_path / "folder")
    write_dataset_file(tmp_path / "folder", tmp_path / "plain")
    assert dataset_preprocessing(tmp_path / "plain", PLAIN) == PLAIN
    (tmp_path / "folder" / "dataset.json").write_text(json.dumps({"mean": [0, 0, 0], "crop_padding": 2}))
    write_dataset_file(tmp_path / "folder", tmp_path / "changed")
    found = dataset_preprocessing(tmp_path / "changed", PLAIN)
    assert found == dataset_preprocessing(tmp_path / "folder", PLAIN)
    assert (found.mean, found.augmentation.crop_padding) == ((0, 0, 0), 2)


def test_a_file_that_is_no_data_set_is_explained(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"PK\x03\x04")
    for read in (lambda path: read_image_set(path, "train"), lambda path: dataset_preprocessing(path, PLAIN)):
        with pytest.raises(NernError) as error:
            read(tmp_path / "data")
        assert error.value.code == "not_a_dataset"
