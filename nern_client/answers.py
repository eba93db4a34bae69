"""Parsing of answers."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from nern_client.effects import Answer
from nern_client.errors import UnexpectedAnswer
from nern_client.retries import Session

Model = TypeVar("Model", bound=BaseModel)


def read(session: Session, answer: Answer, model: type[Model]) -> Model:
    """Parse the document in an answer. Raises `UnexpectedAnswer`."""
    try:
        return model.model_validate_json(answer.body)
    except ValidationError as error:
        raise _unexpected(session) from error


def header(session: Session, answer: Answer, name: str) -> str:
    """Return a required header of an answer. Raises `UnexpectedAnswer`."""
    if name not in answer.headers:
        raise _unexpected(session)
    return answer.headers[name]


def _unexpected(session: Session) -> UnexpectedAnswer:
    return UnexpectedAnswer(f"The server at {session.url} is not a NeRN service, or has an incompatible version.")
