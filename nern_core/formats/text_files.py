"""Text lines: a `.txt` file, or a safetensors file whose only tensor `text` has the same bytes. Torch-free.

Services take the second form, which no other file can be mistaken for.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from nern_core.contract.errors import NernError
from nern_core.formats.file_section import section
from nern_core.formats.safetensors_header import read_placed_header
from nern_core.formats.tensor_claims import TensorClaim

TEXT: Final = "text"
_SUFFIX: Final = ".txt"
_MOST_LINES: Final = 50_000
# Networks get up to 128 tokens of a line.
_LONGEST_LINE: Final = 2**13


@dataclass(frozen=True, slots=True)
class TextLines:
    """Lines that are not empty; `notes` are sentences on how they were read."""

    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()


def is_text_claim(claim: TensorClaim) -> bool:
    """Return True for the dtype and shape of a tensor `text`: bytes."""
    return claim.dtype == "U8" and len(claim.shape) == 1 and claim.shape[0] > 0


def has_text(path: Path) -> bool:
    """Return True if a file is a data set of text lines, judged by its tensors or by its suffix."""
    return path.is_file() and (path.suffix == _SUFFIX or _place_of_text(path) is not None)


def read_lines(path: Path) -> TextLines:
    """Read the first 50,000 lines that are not empty, and 8,192 characters of each. Raises `NernError` (`bad_data`)."""
    found: list[str] = []
    notes: tuple[str, ...] = ()
    try:
        with _opened(path) as file:
            for line in _lines(file):
                if len(found) == _MOST_LINES:
                    notes = (f"Only the first {_MOST_LINES:,} lines of '{path.name}' were used.",)
                    break
                found.append(line)
    except UnicodeDecodeError as error:
        raise NernError("bad_data", f"'{path}' is not text in UTF-8; save it in this encoding.") from error
    if not found:
        raise NernError("bad_data", f"'{path}' has no lines; write one example on each line.")
    return TextLines(tuple(found), notes)


def _place_of_text(path: Path) -> tuple[int, int] | None:
    """Return the first byte and the length of the tensor `text`; None if the file has others, or is no such file."""
    with path.open("rb") as file:
        try:
            tensors = read_placed_header(file, file.seek(0, os.SEEK_END))
        except NernError:
            return None
    if tensors.keys() != {TEXT}:
        return None
    claim, start = tensors[TEXT]
    return (start, claim.logical_bytes) if is_text_claim(claim) else None


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    # The name of an uploaded data set may end with any suffix.
    place = _place_of_text(path)
    with path.open("rb") as file:
        part = file if place is None else section(file, *place)
        yield io.TextIOWrapper(part, encoding="utf-8-sig")


def _lines(file: TextIO) -> Iterator[str]:
    """Yield the lines that are not empty, without the ends of long ones, which are never in memory as a whole."""
    while part := file.readline(_LONGEST_LINE):
        if line := part.strip():
            yield line
        while part and not part.endswith("\n"):
            part = file.readline(_LONGEST_LINE)
