"""Text on a terminal or in a pipe: without control characters of others, and in whatever encoding the stream has."""

import codecs
import io
import sys
from collections.abc import Iterable
from typing import Final

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
    """Write ASCII in place of characters that the encoding of standard output or standard error does not have."""
    codecs.register_error(_NAME, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)


def printable(text: str) -> str:
    """Escape what does something else than to be seen: control characters, line breaks, changes of direction."""
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def print_line(text: str) -> None:
    """Print one line on standard output."""
    print(printable(text))


def print_row(cells: Iterable[str]) -> None:
    """Print one line of cells, for programs: separated by tabs, without their own."""
    print("\t".join(printable(cell) for cell in cells))


def print_note(text: str) -> None:
    """Print one line on standard error, where it does not come between results."""
    print(printable(text), file=sys.stderr, flush=True)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Handle what cannot be encoded; see `codecs.register_error`."""
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
