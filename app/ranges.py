"""The header `Range`: which part of a file a request asks for, by RFC 9110, one range at a time."""

import re
from http import HTTPStatus

from app.problems import Problem

_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*", re.IGNORECASE)


def requested_part(asked: str | None, if_range: str | None, etag: str, size: int) -> range | None:
    """The part that is to be sent; None: all of it.

    That is for whoever asks for several ranges or for something that is none, and for whoever goes on with a file
    (`If-Range`) that has changed. Raises `Problem` (`range-not-satisfiable`).
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
    """The header that says which part this is."""
    return f"bytes {part.start}-{part.stop - 1}/{size}"


def _not_satisfiable(size: int) -> Problem:
    return Problem(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "range-not-satisfiable",
        f"The result has {size:,} bytes, and the range begins after them; ask for a part of them.",
        headers={"Content-Range": f"bytes */{size}"},
    )
