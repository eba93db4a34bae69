from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nern_core.contract.errors import NernError
from nern_core.formats.checkpoint_structure import read_structure
from nern_core.formats.checksum import UNSEALED, seal
from nern_core.formats.document_text import LARGEST_DOCUMENT
from nern_core.formats.encoding_structure import (
    check_encoding_structure,
    decoded_bytes,
    is_encoding,
)
from tests.conftest import EXAMPLE, ROOT
from tests.dataset_files import safetensors_file
from tests.encoding_files import changed

GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.nern"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_whole_file_is_found_right(path: Path) -> None:
    check_encoding_structure(path)


def test_every_changed_byte_and_every_truncation_is_noticed(tmp_path: Path) -> None:
    content, path = bytearray(GOLDEN[-1].read_bytes()), tmp_path / "x"
    for place in range(0, len(content), 7):
        content[place] ^= 0xFF
        path.write_bytes(content)
        with pytest.raises(NernError):
            check_encoding_structure(path)
        content[place] ^= 0xFF
        path.write_bytes(content[:place])
        with pytest.raises(NernError):
            check_encoding_structure(path)


@pytest.mark.parametrize(
    ("content", "code", "sentence"),
    [
        (b"", "not_an_encoding", "^The upload is an empty file; use a .nern file.$"),
        (
            b"PK\x03\x04 and so on",
            "not_an_encoding",
            r"^The upload is a torch checkpoint, not a .nern file; `nern encode` \(POST /jobs\) makes a .nern file",
        ),
        (
            EXAMPLE.read_bytes(),
            "not_an_encoding",
            "^The upload is a checkpoint without `nern` metadata, not a .nern file; `nern encode`",
        ),
        (b"\x02" + bytes(7) + b"{}", "not_an_encoding", "a checkpoint without `nern` metadata"),
        (b"\x02" + bytes(7) + b"x}", "not_an_encoding", "not a table of tensors"),
        (b"\x04" + bytes(7) + "{\xa0}".encode(), "not_an_encoding", "not a table of tensors"),
        (
            safetensors_file({"document": ("U8", (1,))}, {"nern": "{}"}),
            "bad_encoding",
            "has no valid format version",
        ),
        (
            safetensors_file({"document": ("U8", (1,))}, {"nern": '{"format_version": 9}'}),
            "unsupported_version",
            "format 9",
        ),
        (
            safetensors_file({"document": ("U8", (1,))}, {"nern": '{"format_version": 4}'}),
            "bad_encoding",
            "its checksum",
        ),
        (
            safetensors_file({"document": ("U8", (1,))}, {"nern": '{"format_version": 1%s}' % ("0" * 400)}),
            "bad_encoding",
            "has no valid format version",
        ),
        (safetensors_file({"document": ("U8", (1,))}, {"nern": "x" * 70_000}), "not_an_encoding", "longer than 64 KiB"),
    ],
)
def test_other_files_are_explained(tmp_path: Path, content: bytes, code: str, sentence: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(NernError, match=sentence) as error:
        check_encoding_structure(tmp_path / "x", "The upload")
    assert error.value.code == code


def test_a_checkpoint_with_a_long_header_is_told_from_a_damaged_encoding(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(safetensors_file({f"{number:070}": ("U8", (1,)) for number in range(1000)}))
    with pytest.raises(NernError, match="^The file is a checkpoint without `nern` metadata, not a .nern file"):
        check_encoding_structure(tmp_path / "x")


def test_an_encoding_is_known_by_its_contents_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(GOLDEN[-1].read_bytes())
    (tmp_path / "damaged.nern").write_bytes(b"")
    assert is_encoding(tmp_path / "x.pt")
    assert is_encoding(tmp_path / "damaged.nern")
    assert not is_encoding(EXAMPLE)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_what_a_file_decodes_to_is_counted_without_decoding_it(path: Path) -> None:
    with path.open("rb") as file:
        assert decoded_bytes(file) == read_structure(path.with_suffix(".safetensors")).logical_bytes


def with_shape(*shape: int) -> Callable[[dict[str, Any]], None]:
    return lambda contents: contents["document"]["layers"][0].update(shape=shape)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (with_shape(*[10**4000 - 1] * 8), "its document cannot be read"),
        (with_shape(*[1] * 300), "its document cannot be read"),
        (with_shape(2**20, 2**20, 3, 3), r"bytes declare [\d,]+ bytes of tensors"),
        (lambda contents: contents["kept"][0].update(shape=[2**40]), r"bytes declare [\d,]+ bytes of tensors"),
    ],
    ids=["digits", "axes", "layer", "kept"],
)
def test_impossible_sizes_are_refused_before_they_are_counted(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    path = changed(GOLDEN[-1], tmp_path / "x.nern", change)
    with path.open("rb") as file, pytest.raises(NernError, match=sentence) as error:
        decoded_bytes(file)
    assert error.value.code == "bad_encoding"


def test_more_tensors_than_any_checkpoint_has_are_refused(tmp_path: Path) -> None:
    def tie(contents: dict[str, Any]) -> None:
        name = contents["document"]["layers"][0]["name"]
        contents["document"].update(tied={f"again{index}": name for index in range(100_000)})

    path = changed(GOLDEN[-1], tmp_path / "x.nern", tie)
    with path.open("rb") as file, pytest.raises(NernError, match=r"declares more than 100,000 tensors\.$") as error:
        decoded_bytes(file)
    assert error.value.code == "bad_encoding"


def test_a_document_that_is_longer_than_any_is_refused_unread(tmp_path: Path) -> None:
    metadata = {"nern": f'{{"checksum":"{UNSEALED}","format_version":5}}'}
    path = tmp_path / "x.nern"
    path.write_bytes(safetensors_file({"document": ("U8", (LARGEST_DOCUMENT + 1,))}, metadata))
    seal(path)
    with pytest.raises(NernError, match="its document is longer than 16,777,216 bytes") as error:
        check_encoding_structure(path)
    assert error.value.code == "bad_encoding"
