"""Compress the JSON document of a `.nern` file, and inflate it within limits. Torch-free.

Parsed JSON takes up to a hundred times the memory of its text, and a few bytes inflate to megabytes of text. So the
text, its lists, objects and values are limited in proportion to the compressed bytes, before the text is parsed.
"""

import zlib
from typing import Final

from nern_core.contract.errors import NernError

# Bytes of the document, compressed or not.
LARGEST_DOCUMENT: Final = 1 << 24
# Each limit is a base, a factor of the compressed bytes, and the most of any document. The documents of networks with
# 100,000 tensors compress up to 42 times, and have 0.4 lists and objects and 1.5 commas for each compressed byte.
_TEXT: Final = (1 << 21, 64, LARGEST_DOCUMENT)
_CONTAINERS: Final = (50_000, 1, 1_000_000)
_COMMAS: Final = (100_000, 4, 2_000_000)


def compress_document(text: bytes) -> bytes:
    """Compress a document, unless `inflate_document` would refuse the result; then only wrap it.

    Raises `NernError` (`unsupported_format`) for a document that is too large for any file.
    """
    for level in (9, 0):
        packed = zlib.compress(text, level)
        if len(packed) <= LARGEST_DOCUMENT and _is_within_limits(text, len(packed)):
            return packed
    raise NernError(
        "unsupported_format",
        f"The names, shapes and settings of the checkpoint take {len(text):,} bytes, more than a .nern file holds; "
        "save only the network's state_dict(), with shorter names.",
    )


def inflate_document(packed: bytes, called: str) -> bytes:
    """Undo `compress_document`; `called` names the file in messages. Raises `NernError` (`bad_encoding`)."""
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(packed, _limit(_TEXT, len(packed)) + 1)
    except zlib.error as error:
        raise _unreadable(called) from error
    if not inflater.eof or not _is_within_limits(text, len(packed)):
        raise _unreadable(called)
    return text


def _is_within_limits(text: bytes, packed_bytes: int) -> bool:
    """Return whether a text is in proportion to its compressed bytes; characters within strings count, too."""
    return (
        len(text) <= _limit(_TEXT, packed_bytes)
        and text.count(b"[") + text.count(b"{") <= _limit(_CONTAINERS, packed_bytes)
        and text.count(b",") <= _limit(_COMMAS, packed_bytes)
    )


def _limit(limit: tuple[int, int, int], packed_bytes: int) -> int:
    base, factor, most = limit
    return min(base + factor * packed_bytes, most)


def _unreadable(called: str) -> NernError:
    return NernError("bad_encoding", f"{called} is damaged: its document cannot be read.")
