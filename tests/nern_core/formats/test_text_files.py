from pathlib import Path

import pytest

from nern_core.contract.errors import NernError
from nern_core.formats import text_files
from nern_core.formats.text_files import has_text, read_lines
from nern_core.networks.dataset_files import write_dataset_file
from nern_core.networks.datasets import read_pixels
from tests.dataset_files import Claim, safetensors_file

CONTENT = "\ufeffa cat\r\n\n  the wall \nä\rharbour".encode()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_bytes(CONTENT)
    return path


def packed(path: Path, content: bytes) -> Path:
    path.write_bytes(safetensors_file({"text": ("U8", (len(content),))}, data=content))
    return path


@pytest.mark.parametrize("name", ["mine", "mine.txt", "mine.safetensors"])
def test_lines_are_the_same_in_a_file_of_text_and_in_a_tensor(text: Path, tmp_path: Path, name: str) -> None:
    expected = ("a cat", "the wall", "ä", "harbour")
    assert read_lines(text).lines == expected
    tensor = packed(tmp_path / name, CONTENT)
    assert has_text(tensor)
    assert read_lines(tensor).lines == expected


def test_the_file_that_services_take_has_the_same_lines(text: Path, tmp_path: Path) -> None:
    assert write_dataset_file(text, tmp_path / "mine") == ()
    assert read_lines(tmp_path / "mine") == read_lines(text)


def test_more_lines_than_are_used_are_counted_in_a_note(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "_MOST_LINES", 2)
    note = "Only the first 2 lines of 'lines.txt' were used."
    assert read_lines(text).lines == ("a cat", "the wall")
    assert read_lines(text).notes == (note,)
    assert write_dataset_file(text, tmp_path / "mine") == (note,)
    assert read_lines(tmp_path / "mine").notes == ()


def test_the_rest_of_a_long_line_is_left_out(tmp_path: Path) -> None:
    path = packed(tmp_path / "mine", b"a" * 20_000 + b"\nb")
    assert read_lines(path).lines == ("a" * 8192, "b")


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"\xff\xfe", "is not text in UTF-8"), (b"\n \n", "has no lines"), (b"", "has no lines")]
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(content)
    with pytest.raises(NernError, match=sentence) as error:
        read_lines(path)
    assert error.value.code == "bad_data"


@pytest.mark.parametrize(
    "claims", [{"text": ("F32", (3,))}, {"text": ("U8", (3, 1))}, {"text": ("U8", (3,)), "w": ("F32", (2,))}]
)
def test_other_tensors_are_no_text(tmp_path: Path, claims: dict[str, Claim]) -> None:
    path = tmp_path / "mine"
    path.write_bytes(safetensors_file(claims))
    assert not has_text(path)


def test_text_is_refused_where_images_are_needed(text: Path, tmp_path: Path) -> None:
    for path in (text, packed(tmp_path / "mine", CONTENT)):
        with pytest.raises(NernError, match="text lines, which only networks of transformers take") as error:
            read_pixels(path, "train")
        assert error.value.code == "bad_data"
