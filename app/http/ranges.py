"""The header `Range` of RFC 9110, for single ranges."""

import re
from http import HTTPStatus

from app.kit.problems import Problem

_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*", re.IGNORECASE)


def requested_part(asked: str | None, if_range: str | None, etag: str, size: int) -> range | None:
    """Return the part to send, or None for the whole file.

    The whole file is sent for several ranges, an invalid range, and a resumed download (`If-Range`) of a file that has
    changed. Raises `Problem` (`range-not-satisfiable`).
    """
    if asked is None or if_range not in {None, etag}:
        return None
    found = _ONE_RANGE.fullmatch(asked)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        part = range(max(0, size - int(found[2])), size)
    else:
        last = min(int(found[2]), size - 1) if found[2] else size - 1
        if found[2] and int(found[2]) < int(found[1]):
            return None
        part = range(int(found[1]), last + 1)
    if not part:
        raise _not_satisfiable(size)
    return part


def content_range(part: range, size: int) -> str:
    """Return the value of the header `Content-Range`."""
    return f"bytes {part.start}-{part.stop - 1}/{size}"


def _not_satisfiable(size: int) -> Problem:
    return Problem(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "range-not-satisfiable",
        f"The range begins after the {size:,} bytes of the result; request a range within them.",
        headers={"Content-Range": f"bytes */{size}"},
    )
