"""The header `Content-Digest` of RFC 9530: the client's digest of its message."""

import base64
import binascii
import re
from http import HTTPStatus
from typing import Annotated

from fastapi import Header

from app.problems import Problem

SHA256_PATTERN = r"^[0-9a-f]{64}$"
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
            if found[1] == "sha-256" and all(members) and (digest := _decoded(found[2])):
                return digest.hex()
    raise Problem(
        HTTPStatus.BAD_REQUEST,
        "invalid-digest",
        "The Content-Digest has no SHA-256: send it as sha-256=:…: with the digest in base64, or leave it out.",
    )


def digest_mismatch(expected: str, found: str) -> Problem:
    """Return the problem for bytes whose digest is not the declared one."""
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "digest-mismatch",
        f"The bytes that arrived have the SHA-256 {found}, not {expected}; nothing was kept, send the file again.",
    )


def _decoded(text: str) -> bytes | None:
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return digest if len(digest) == _DIGEST_BYTES else None
