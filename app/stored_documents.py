"""Documents in the JSON columns of rows. Another release may have written them, with fields or values of its own.

While releases are exchanged one after another, the older one reads rows of the newer one: what it does not understand
must not make it fail.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


def read_document(model: type[Model], stored: Mapping[str, Any] | None) -> Model | None:
    """Read a document; None for none, and for one of another release that does not fit the model."""
    if stored is None:
        return None
    try:
        return model.model_validate(stored)
    except ValidationError:
        return None


def read_or_keep(model: type[Model], stored: Mapping[str, Any] | None) -> Model | dict[str, Any] | None:
    """Read a document; one that does not fit the model stays as it is stored."""
    found = read_document(model, stored)
    return dict(stored) if found is None and stored is not None else found
