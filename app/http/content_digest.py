"""The header `Content-Digest` of RFC 9530: the client's digest of its message."""

import base64
import binascii
import re
from http import HTTPStatus
from typing import Annotated

from fastapi import Header

from app.kit.patterns import Matching
from app.kit.problems import FieldProblem, Problem

IS_SHA256 = Matching(r"^[0-9a-f]{64}$", "a SHA-256 is 64 hexadecimal digits, 0 to 9 and a to f in lowercase")
_DIGEST_BYTES = 32
_LONGEST_HEADER = 1000
_MEMBER = re.compile(r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):")

# Header of all routes that take a file as their body.
ContentDigest = Annotated[
    str | None,
    Header(description="SHA-256 of the body in base64, `sha-256=:…:`; a body with another digest is refused."),
]


def parse_content_digest(header: str | None) -> str | None:
    """Return the SHA-256 in hexadecimal digits; None without the header. Raises `Problem` (`invalid-digest`)."""
    if header is None:
        return None
    if len(header) <= _LONGEST_HEADER:
        members = [_MEMBER.fullmatch(part.strip()) for part in header.split(",")]
        for found in filter(None, members):
            if found[1] == "sha-256" and all(members):
                digest = _decoded(found[2])
                if digest is None:
                    raise _invalid(f"The SHA-256 in Content-Digest is not {_DIGEST_BYTES} bytes in base64")
                return digest.hex()
    raise _invalid("The Content-Digest has no SHA-256")


def _invalid(what: str) -> Problem:
    detail = f"{what}: send it as sha-256=:…: with the digest in base64, or leave it out."
    fields = [FieldProblem(field="content-digest", detail=detail)]
    return Problem(HTTPStatus.BAD_REQUEST, "invalid-digest", detail, errors=fields)


def digest_mismatch(expected: str, found: str, field: str) -> Problem:
    """Return the problem for bytes whose digest is not the one that a field declares."""
    return _mismatch(f"The bytes that arrived have the SHA-256 {found}, not {expected}", "send the file again", field)


def digest_mismatch_at_address(expected: str, found: str, field: str) -> Problem:
    """Return the problem for a fetched file whose digest is not the one that a job names."""
    what = f"The file at this address has the SHA-256 {found}, not {expected}"
    return _mismatch(what, "correct the `sha256` or the `url`", field)


def _mismatch(what: str, how_to: str, field: str) -> Problem:
    detail = f"{what}; nothing was kept, {how_to}."
    fields = [FieldProblem(field=field, detail=detail)]
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "digest-mismatch", detail, errors=fields)


def _decoded(text: str) -> bytes | None:
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return digest if len(digest) == _DIGEST_BYTES else None
