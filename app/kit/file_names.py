"""Names of files as clients give them, made fit for people to read."""

import re
import unicodedata
from email.message import Message
from typing import Final
from urllib.parse import unquote, urlsplit

LONGEST_NAME: Final = 200
# Control characters, line breaks, marks that change the text direction, and lone surrogates, which SQL cannot store.
_UNFIT = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
UNFIT_CHARACTERS = re.compile(f"[{_UNFIT}]")


def is_visible(name: str) -> bool:
    """Return whether a name has a character that is neither a space nor without width."""
    return any(unicodedata.category(character)[0] not in "ZC" for character in name)


def name_of_file(path: str) -> str | None:
    """Return the last part of a path as a name, or None if nothing of it can be seen."""
    last = re.split(r"[/\\]", path)[-1]
    name = UNFIT_CHARACTERS.sub("", last)[:LONGEST_NAME].strip()
    return name if is_visible(name) else None


def name_in_disposition(header: str | None) -> str | None:
    """The name of a file in a header Content-Disposition (RFC 6266); None without one."""
    if header is None:
        return None
    message = Message()
    # Headers arrive as Latin-1; many clients send names in UTF-8.
    message["Content-Disposition"] = header.encode("latin-1", "replace").decode("utf-8", "replace")
    return name_of_file(message.get_filename() or "")


def name_at_address(url: str) -> str | None:
    """Return the last part of a URL's path as a name, or None if it is empty."""
    return name_of_file(unquote(urlsplit(url).path, errors="replace"))
