"""JSON documents in database columns, which another release may have written with other fields or values.

During a rolling upgrade, the older release reads rows of the newer one, and must not fail because of them.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


def read_document(model: type[Model], stored: Mapping[str, Any] | None) -> Model | None:
    """Read a document; None if there is no document, or if it is of another release and does not fit the model."""
    if stored is None:
        return None
    try:
        return model.model_validate(stored)
    except ValidationError:
        return None


def read_or_keep(model: type[Model], stored: Mapping[str, Any] | None) -> Model | dict[str, Any] | None:
    """Read a document; one that does not fit the model is returned as stored."""
    found = read_document(model, stored)
    return dict(stored) if found is None and stored is not None else found


def read_list(stored: object) -> list[Any]:
    """Read a list; empty for a column of another form."""
    return list(stored) if isinstance(stored, list) else []
