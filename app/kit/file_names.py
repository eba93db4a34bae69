"""Names of files as clients give them, made fit for people to read."""

import re
from email.message import Message
from typing import Final
from urllib.parse import unquote, urlsplit

LONGEST_NAME: Final = 200
# Control characters, line breaks, marks that change the text direction, and lone surrogates, which SQL cannot store.
_UNFIT = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
UNFIT_CHARACTERS = re.compile(f"[{_UNFIT}]")


def name_of_file(path: str) -> str | None:
    """Return the last part of a path as a name, or None if it is empty."""
    last = re.split(r"[/\\]", path)[-1]
    return UNFIT_CHARACTERS.sub("", last)[:LONGEST_NAME].strip() or None


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
