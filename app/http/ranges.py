"""The header `Range` of RFC 9110, for single ranges."""

import re
from http import HTTPStatus

from app.kit.problems import Problem

_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)\s*", re.IGNORECASE)
# Beyond the end of every file.
_FARTHEST = 10**18


def requested_part(header: str | None, if_range: str | None, etag: str, size: int) -> range | None:
    """Return the part to send, or None for the whole file.

    The whole file is sent for several ranges, an invalid range, and a resumed download (`If-Range`) of a file that has
    changed. Raises `Problem` (`range-not-satisfiable`).
    """
    if header is None or if_range not in {None, etag}:
        return None
    found = _ONE_RANGE.fullmatch(header)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        part = range(max(0, size - _position(found[2])), size)
    else:
        first, last = _position(found[1]), _position(found[2]) if found[2] else size - 1
        if found[2] and last < first:
            return None
        part = range(first, min(last, size - 1) + 1)
    if not part:
        raise _not_satisfiable(size)
    return part


def content_range(part: range, size: int) -> str:
    """Return the value of the header `Content-Range`."""
    return f"bytes {part.start}-{part.stop - 1}/{size}"


def _position(digits: str) -> int:
    """Return a number of any length; those beyond the end of every file are alike."""
    digits = digits.lstrip("0")
    return _FARTHEST if len(digits) > len(str(_FARTHEST)) - 1 else int(digits or "0")


def _not_satisfiable(size: int) -> Problem:
    return Problem(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "range-not-satisfiable",
        f"The range begins after the {size:,} bytes of the result; request a range within them.",
        headers={"Content-Range": f"bytes */{size}"},
    )
