"""Damaged and mutated data sets of images: read or refused in one sentence, whatever is changed."""

import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from bench.fuzz_mutations import mutate
from nern_core.contract.errors import NernError
from nern_core.formats.text_files import read_lines
from nern_core.networks.datasets import read_pixels
from nern_core.networks.image_files.decoding import TargetSize, UndecodableImage, decode_image
from tests.dataset_files import safetensors_file
from tests.image_data import archive, encoded, image, parquet, png, saved, table

FORMATS = ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FORMATS)
def test_a_mutated_image_is_decoded_or_explained(kind: str) -> None:
    seeds = [encoded(image(7), kind), encoded(Image.linear_gradient("L").resize((16, 9)), kind)]
    outcomes: set[object] = set()
    for number in range(200):
        try:
            outcomes.add(decode_image(mutate(random.Random(number), seeds), TargetSize(8, 8, 1.0)).shape)
        except UndecodableImage as error:
            outcomes.add(str(error).count("\n"))
    assert outcomes == {(8, 8, 3), 0}


def write_parquet(path: Path) -> None:
    """Write a small Parquet file."""
    parquet(path, table(range(6), range(6)))


def write_archive(path: Path) -> None:
    """Write a small WebDataset archive."""
    archive(
        path,
        {f"{number}.{kind}": content for number in range(4) for kind, content in (("png", png(number)), ("cls", b"1"))},
    )


@pytest.mark.parametrize(("name", "write"), [("x.parquet", write_parquet), ("x.tar", write_archive)])
def test_a_mutated_file_is_read_or_refused(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    path = tmp_path / name
    write(path)
    seeds = [path.read_bytes()]
    outcomes = set()
    for number in range(150):
        path.write_bytes(mutate(random.Random(number), seeds))
        outcomes.add(outcome_of(path))
    assert {"read", "bad_data"} <= outcomes <= {"read", "bad_data", "not_a_dataset"}


def test_a_mutated_folder_of_arrow_files_is_read_or_refused(tmp_path: Path) -> None:
    saved(tmp_path / "x", table(range(6), range(6)))
    path = tmp_path / "x" / "data-00000-of-00002.arrow"
    seeds = [path.read_bytes()]
    outcomes = set()
    for number in range(150):
        path.write_bytes(mutate(random.Random(number), seeds))
        outcomes.add(outcome_of(tmp_path / "x"))
    assert outcomes == {"read", "bad_data"}


def outcome_of(path: Path) -> str:
    """Read a data set, and return the code of the error if it is refused."""
    try:
        for split in ("train", "test"):
            read_pixels(path, split)
    except NernError as error:
        return error.code if "\n" not in error.message else error.message
    return "read"


def test_a_mutated_file_of_text_lines_is_read_or_refused(tmp_path: Path) -> None:
    text = "a cat\nä wall\n".encode() * 9
    seeds = [safetensors_file({"text": ("U8", (len(text),))}, data=text)]
    outcomes = set()
    for number in range(2000):
        (tmp_path / "lines.txt").write_bytes(mutate(random.Random(number), seeds))
        try:
            read_lines(tmp_path / "lines.txt")
            outcomes.add("read")
        except NernError as error:
            outcomes.add(error.code)
    assert outcomes == {"read", "bad_data"}


def test_no_type_of_an_arrow_file_is_loaded_from_it(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    kind = pa.field(
        "image",
        pa.binary(),
        metadata={
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": f"cposix\nsystem\n(Vtouch {canary}\ntR.".encode(),
        },
    )
    content = pa.table([pa.array([png(1), png(2)])], schema=pa.schema([kind]))
    saved(tmp_path / "x", content)
    parquet(tmp_path / "y.parquet", content)
    for path in (tmp_path / "x", tmp_path / "y.parquet"):
        outcome_of(path)
    assert not canary.exists()
