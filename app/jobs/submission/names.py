"""Names of jobs, for people; by default the name of the file."""

import re
from email.message import Message
from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from app.kit.problems import FieldProblem, Problem

LONGEST_NAME: Final = 200
# Control characters, line breaks, marks that change the text direction, and lone surrogates, which SQL cannot store.
_UNFIT = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_UNFIT_CHARACTERS = re.compile(f"[{_UNFIT}]")


def _stripped(name: str) -> str:
    if not name.strip():
        raise ValueError("a name needs at least one visible character")
    if _UNFIT_CHARACTERS.search(name):
        raise ValueError("a name must be one line of text without control characters")
    return name.strip()


JobName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_NAME,
        description="Name for people, one line of text. Default: the name of the file.",
    ),
    AfterValidator(_stripped),
]
_NAME: TypeAdapter[str] = TypeAdapter(JobName)


def parse_name(text: bytes) -> str:
    """Parse the name in a form, plain text. Raises `Problem` (`invalid-name`)."""
    try:
        return _NAME.validate_python(text.decode())
    except UnicodeDecodeError:
        fields = [FieldProblem(field="name", detail="a name must be text in UTF-8.")]
        detail = f"name: {fields[0].detail}"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-name", detail, errors=fields) from None
    except ValidationError as error:
        raise Problem.of_validation("invalid-name", error, within="name") from error


def name_of_file(path: str) -> str | None:
    """Return the last part of a path as a name, or None if it is empty."""
    last = re.split(r"[/\\]", path)[-1]
    return _UNFIT_CHARACTERS.sub("", last)[:LONGEST_NAME].strip() or None


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
