"""Text output: control characters are escaped, and characters that the stream cannot encode become ASCII."""

import codecs
import io
import os
import sys
from collections.abc import Iterable
from typing import Final

from nern_core.contract.errors import sentence_case

_NAME: Final = "nern-ascii"
_ASCII: Final = {
    "→": "->",
    "—": "-",
    "\N{EN DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "…": "...",
    "\N{MULTIPLICATION SIGN}": "x",
    "·": "-",
    "±": "+/-",
    "≤": "<=",
    "≥": ">=",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "“": '"',
    "”": '"',
}
_HORIZONTAL, _VERTICAL = "─━═╌╍┄┅┈┉╴╶╸╺╼╾", "│┃║╎╏┆┇┊┋╵╷╹╻╽╿"


def use_any_encoding() -> None:
    """Make standard output and standard error replace characters that they cannot encode by ASCII."""
    codecs.register_error(_NAME, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)


def printable(text: str) -> str:
    """Escape non-printable characters: control characters, line breaks, changes of direction."""
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def print_line(text: str) -> None:
    """Print one line on standard output."""
    print(printable(text))


def print_row(cells: Iterable[str]) -> None:
    """Print cells for programs, on one line separated by tabs; tabs in cells are escaped."""
    print("\t".join(printable(cell) for cell in cells))


def print_note(text: str) -> None:
    """Print one line on standard error, so that it does not mix with results.

    If nobody reads it any more, the work continues without notes.
    """
    try:
        print(printable(text), file=sys.stderr, flush=True)
    except BrokenPipeError:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 # a name, not a path
            os.dup2(nowhere.fileno(), sys.stderr.fileno())


def print_error(sentence: str) -> None:
    """Print what went wrong on standard error."""
    print_note(f"nern: {sentence_case(sentence)}")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that cannot be encoded; see `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_nearest, error.object[error.start : error.end])), error.end


def _nearest(character: str) -> str:
    if character in _ASCII:
        return _ASCII[character]
    if "\u2500" <= character <= "\u257f":
        return "-" if character in _HORIZONTAL else "|" if character in _VERTICAL else "+"
    return _escaped(character)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
