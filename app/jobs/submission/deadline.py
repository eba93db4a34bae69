"""Deadlines: the time by which a job must end to be of use to its submitter."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from app.kit.problems import Problem

DEADLINE_EXCEEDED = "deadline_exceeded"
_THIRTY_DAYS = 30 * 86400

DeadlineSeconds = Annotated[
    int,
    Field(
        ge=1,
        le=_THIRTY_DAYS,
        description="Seconds from submission. A job that has not ended by then fails with `deadline_exceeded`.",
    ),
]
_SECONDS: TypeAdapter[int] = TypeAdapter(DeadlineSeconds)


_FORM = "a whole number of seconds, such as 3600"


def parse_deadline(text: bytes) -> timedelta:
    """Parse a deadline from JSON. Raises `Problem` (`invalid-deadline`)."""
    try:
        return timedelta(seconds=_SECONDS.validate_json(text))
    except ValidationError as error:
        raise Problem.of_validation("invalid-deadline", error, within="deadline_seconds", form=_FORM) from error
