"""What an answer has to hold for this client to understand it."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from nern_client.effects import Answer
from nern_client.errors import UnexpectedAnswer
from nern_client.retries import Session

Model = TypeVar("Model", bound=BaseModel)


def read(session: Session, answer: Answer, model: type[Model]) -> Model:
    """The document in an answer. Raises `UnexpectedAnswer`."""
    try:
        return model.model_validate_json(answer.body)
    except ValidationError as error:
        raise _unexpected(session) from error


def header(session: Session, answer: Answer, name: str) -> str:
    """A header that an answer has to have. Raises `UnexpectedAnswer`."""
    if name not in answer.headers:
        raise _unexpected(session)
    return answer.headers[name]


def _unexpected(session: Session) -> UnexpectedAnswer:
    return UnexpectedAnswer(f"What answers at {session.url} is no NeRN service, or one of another version.")
