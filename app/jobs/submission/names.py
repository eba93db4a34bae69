"""Names of jobs, for people; by default the name of the file."""

from http import HTTPStatus
from typing import Annotated

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from app.kit.file_names import LONGEST_NAME, UNFIT_CHARACTERS, is_visible
from app.kit.problems import FieldProblem, Problem


def _stripped(name: str) -> str:
    if not is_visible(name):
        raise ValueError("a name needs at least one visible character")
    if UNFIT_CHARACTERS.search(name):
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
