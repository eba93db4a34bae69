import json
import random
from pathlib import Path
from typing import Any

import pytest

from bench.fuzz_mutations import mutate
from nern_core.contract.errors import NernError
from nern_core.formats.dataset_structure import SplitStructure, read_dataset_structure
from nern_core.formats.other_datasets import DATASET_KINDS
from tests.dataset_files import SMALL, Claim, safetensors_file


def written(folder: Path, content: bytes) -> Path:
    path = folder / "data"
    path.write_bytes(content)
    return path


def test_tells_the_splits_of_a_file(tmp_path: Path) -> None:
    assert read_dataset_structure(written(tmp_path, safetensors_file(SMALL))).splits == {
        "train": SplitStructure(images=3, height=4, width=5, bytes=3 * 60 + 3 * 8),
        "test": SplitStructure(images=2, height=4, width=5, bytes=2 * 60 + 2 * 8),
    }


def test_labels_may_be_missing_from_both_splits(tmp_path: Path) -> None:
    images = {name: claim for name, claim in SMALL.items() if name.endswith("images")}
    found = read_dataset_structure(written(tmp_path, safetensors_file(images)))
    assert not found.is_labelled
    assert found.splits["test"] == SplitStructure(images=2, height=4, width=5, bytes=2 * 60)


def test_arrays_are_inputs_of_any_network(tmp_path: Path) -> None:
    claims: dict[str, Claim] = {"inputs.ids": ("I64", (5, 7)), "inputs.mask": ("U8", (5, 7)), "labels": ("I64", (5,))}
    found = read_dataset_structure(written(tmp_path, safetensors_file(claims)))
    assert found.is_labelled
    assert not found.splits
    assert {name: (claim.dtype, claim.shape) for name, claim in found.arrays.items()} == claims


def test_text_lines_are_bytes(tmp_path: Path) -> None:
    found = read_dataset_structure(written(tmp_path, safetensors_file({"text": ("U8", (7,))})))
    assert found.text_bytes == 7
    assert not found.splits
    assert not found.arrays


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"text": ("U8", (7,)), "labels": ("I64", (7,))}, "has `text` and 'labels'; .* has `text` alone"),
        ({"text": ("I32", (7,))}, r"`text` is I32 of shape \[7\]; text lines are U8"),
        ({"text": ("U8", (7, 1))}, r"`text` is U8 of shape \[7, 1\]"),
        ({"text": ("U8", (0,))}, r"`text` is U8 of shape \[0\]"),
    ],
)
def test_other_text_is_explained(tmp_path: Path, claims: dict[str, Claim], sentence: str) -> None:
    with pytest.raises(NernError, match=sentence) as error:
        read_dataset_structure(written(tmp_path, safetensors_file(claims)))
    assert error.value.code == "not_a_dataset"


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        (
            {"inputs": ("F32", (3, 2)), "mask": ("F32", (3,))},
            "has an array 'mask', which is no argument by its name; rename it to 'inputs.mask'",
        ),
        ({"inputs": ("F32", (3, 2)), "inputs.b": ("F32", (3,))}, "has `inputs` and 'inputs.b'; name all"),
        ({"inputs.a": ("F32", (3, 2)), "inputs.b": ("F32", (4,))}, "with 4 rows, and 'inputs.a' has 3"),
        ({"inputs": ("F32", (0, 2))}, "'inputs' with 0 rows"),
        ({"inputs": ("F32", ())}, "'inputs' that is a single number"),
        ({"inputs": ("F32", (3, 2)), "labels": ("F32", (3,))}, r"`labels` is F32 of shape \[3\]; use one integer"),
        ({"inputs": ("F32", (3, 2)), "labels": ("I64", (3, 1))}, "use one integer for each example"),
        ({"inputs": ("F32", (3, 2)), "train.images": ("U8", (3, 4, 5, 3))}, "has an array 'train.images'"),
    ],
)
def test_other_arrays_are_explained(tmp_path: Path, claims: dict[str, Claim], sentence: str) -> None:
    with pytest.raises(NernError, match=sentence) as error:
        read_dataset_structure(written(tmp_path, safetensors_file(claims)))
    assert error.value.code == "not_a_dataset"


def without(name: str) -> dict[str, Claim]:
    return {other: claim for other, claim in SMALL.items() if other != name}


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        (without("test.labels"), "has no tensor 'test.labels'"),
        (SMALL | {"conv.weight": ("F32", (2, 2))}, "also has a tensor 'conv.weight'"),
        (SMALL | {"train.images": ("F32", (3, 4, 5, 3))}, "is F32 of shape"),
        (SMALL | {"train.images": ("U8", (3, 3, 4, 5))}, r"is U8 of shape \[3, 3, 4, 5\]; images are U8"),
        (SMALL | {"train.images": ("U8", (3, 4, 5))}, "of shape N x H x W x 3"),
        (SMALL | {"train.images": ("U8", (0, 4, 5, 3)), "train.labels": ("I64", (0,))}, "of shape N x H x W x 3"),
        (SMALL | {"train.images": ("U8", (3, 0, 5, 3))}, "0 x 5 pixels; use 1 to 4096"),
        (SMALL | {"train.images": ("U8", (3, 1, 4097, 3))}, "1 x 4097 pixels"),
        (SMALL | {"train.labels": ("I32", (3,))}, "is I32 of shape"),
        (SMALL | {"train.labels": ("I64", (4,))}, "one I64 .* for each of the 3 images"),
        (SMALL | {"train.labels": ("I64", (3, 1))}, "one I64"),
    ],
)
def test_other_contents_are_explained(tmp_path: Path, claims: dict[str, Claim], sentence: str) -> None:
    with pytest.raises(NernError, match=sentence) as error:
        read_dataset_structure(written(tmp_path, safetensors_file(claims)))
    assert error.value.code == "not_a_dataset"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "header is longer than the file"),
        (b"PK\x03\x04 and so on", "is a zip archive"),
        (safetensors_file(SMALL)[:-1], "bytes of data, but its header declares"),
        (safetensors_file(SMALL) + b"x", "bytes of data, but its header declares"),
        (safetensors_file(SMALL, {"note": "x" * 70_000}), "header is longer than 64 KiB"),
    ],
)
def test_damage_is_told(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(NernError, match=sentence) as error:
        read_dataset_structure(written(tmp_path, content))
    assert error.value.code == "not_a_dataset"


@pytest.mark.parametrize(
    ("preprocessing", "fits"),
    [
        ({"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "input_size": 8}, True),
        ({"crop_padding": 4, "horizontal_flip": True}, True),
        ({"mean": [0.5]}, False),
        ({"std": [0, 1, 1]}, False),
        ({"path": "/etc/passwd"}, False),
        ([], False),
    ],
)
def test_what_the_metadata_say_of_preprocessing_is_checked(tmp_path: Path, preprocessing: Any, fits: bool) -> None:
    path = written(tmp_path, safetensors_file(SMALL, {"preprocessing": json.dumps(preprocessing)}))
    if fits:
        assert set(read_dataset_structure(path).splits) == {"train", "test"}
        return
    with pytest.raises(NernError, match="entry `preprocessing` of the metadata is invalid") as error:
        read_dataset_structure(path)
    assert error.value.code == "not_a_dataset"


def test_other_metadata_are_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, safetensors_file(SMALL, {"author": "somebody"}))
    assert set(read_dataset_structure(path).splits) == {"train", "test"}


def test_whatever_is_changed_in_a_file_it_is_read_or_refused(tmp_path: Path) -> None:
    seeds = [safetensors_file(SMALL), safetensors_file(SMALL, {"preprocessing": '{"input_size": 8}'})]
    outcomes = set()
    for number in range(2000):
        path = written(tmp_path, mutate(random.Random(number), seeds))
        try:
            read_dataset_structure(path)
            outcomes.add("read")
        except NernError as error:
            outcomes.add(error.code)
    assert outcomes == {"read", "not_a_dataset"}


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("cat.png", b"\x89PNG\r\n\x1a\n", "is a single image"),
        ("cat.jpg", b"\xff\xd8\xff\xe0", "is a single image"),
        ("images.tar.gz", b"\x1f\x8b\x08", "is compressed by gzip; unpack it"),
        ("rows.csv", b"a,b\n1,2\n", "is a table of text"),
        ("net.onnx", b"\x08\x07\x12", "is a checkpoint, which comes before the options"),
        ("data", b"nothing known", "has an unknown format"),
    ],
)
def test_other_files_are_named_with_the_kinds_of_data_sets(
    tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NernError) as error:
        read_dataset_structure(tmp_path / name)
    assert error.value.code == "not_a_dataset"
    assert error.value.message == f"'{tmp_path / name}' {what}. A data set is {DATASET_KINDS}."


def test_arrays_with_other_names_are_listed_with_their_new_names(tmp_path: Path) -> None:
    path = written(tmp_path, safetensors_file({"image": ("F32", (5, 3)), "labels": ("I64", (5,))}))
    with pytest.raises(NernError) as error:
        read_dataset_structure(path)
    assert error.value.message == (
        f"'{path}' has the arrays 'image', 'labels', and none named `inputs`; rename the only argument to `inputs`, or "
        "each one as in 'inputs.image', and the classes to `labels`."
    )
