import io
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from nern_core.contract.errors import NernError
from nern_core.formats.torch_files.zip_archive import read_entries, read_names

LARGE = 2**32 + 8


def stored(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return path


def test_entries_lie_where_their_bytes_are(tmp_path: Path) -> None:
    path = stored(tmp_path / "x.zip", {"a/b": b"first", "c": b"", "d": b"last"})
    with path.open("rb") as file:
        entries = read_entries(file)
        content = path.read_bytes()
    assert {name: content[e.start : e.start + e.length] for name, e in entries.items()} == {
        "a/b": b"first",
        "c": b"",
        "d": b"last",
    }


def test_entries_of_torch_lie_where_torch_has_padded_them_to(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(4.0), "empty": torch.empty(0)}, tmp_path / "w.pt")
    with (tmp_path / "w.pt").open("rb") as file:
        entry = read_entries(file)["w/data/0"]
        file.seek(entry.start)
        assert struct.unpack("<4f", file.read(entry.length)) == (0, 1, 2, 3)
    assert entry.start % 64 == 0


def test_sizes_that_were_not_known_when_an_entry_was_begun_are_read(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        archive.writestr("a", b"12345")
        with archive.open(zipfile.ZipInfo("b"), "w", force_zip64=True) as entry:
            entry.write(b"678")
    (tmp_path / "x.zip").write_bytes(pipe.getvalue())
    with (tmp_path / "x.zip").open("rb") as file:
        assert {name: entry.length for name, entry in read_entries(file).items()} == {"a": 5, "b": 3}


def beyond_4_gigabytes(path: Path, *, record_at: int = 0) -> None:
    """Write an archive of two large entries, which are holes in the file."""
    central = b""
    with path.open("wb") as file:
        for name in (b"a", b"b"):
            at = file.tell()
            zip64 = struct.pack("<2H2Q", 1, 16, LARGE, LARGE)
            file.write(struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 0, 0, *[2**32 - 1] * 2, 1, 20) + name + zip64)
            file.seek(LARGE, io.SEEK_CUR)
            zip64 = struct.pack("<2H3Q", 1, 24, LARGE, LARGE, at)
            fields = (45, 45, 0, 0, 0, 0, 0, *[2**32 - 1] * 2, 1, 28, 0, 0, 0, 0, 2**32 - 1)
            central += struct.pack("<4s6H3I5H2I", b"PK\1\2", *fields) + name + zip64
        start = file.tell()
        file.write(central)
        end = file.tell()
        file.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, len(central), start))
        file.write(struct.pack("<4sIQI", b"PK\6\7", 0, end + record_at, 1))
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(central), 2**32 - 1, 0))


def test_entries_beyond_4_gigabytes_are_found(tmp_path: Path) -> None:
    beyond_4_gigabytes(tmp_path / "x.zip")
    with (tmp_path / "x.zip").open("rb") as file:
        entries = read_entries(file)
    assert (entries["a"].start, entries["a"].length) == (51, LARGE)
    assert (entries["b"].start, entries["b"].length) == (51 + LARGE + 51, LARGE)


def test_a_zip64_record_elsewhere_is_refused(tmp_path: Path) -> None:
    beyond_4_gigabytes(tmp_path / "x.zip", record_at=-4)
    with (tmp_path / "x.zip").open("rb") as file, pytest.raises(NernError, match="zip64 record is not where"):
        read_entries(file)


def test_names_are_told_before_the_entries_are_checked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/constants.pkl", b"0" * 100)
    with (tmp_path / "x.zip").open("rb") as file:
        assert read_names(file) == ["m/constants.pkl"]
        with pytest.raises(NernError, match="entry 'm/constants.pkl' is compressed"):
            read_entries(file)
