"""The parsed contents of a `.nern` file."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from nern_core.container.document import Document
from nern_core.container.kept import Kept

Weights = TypeVar("Weights")


@dataclass(frozen=True, slots=True)
class Encoding(Generic[Weights]):
    """A document, the weights in its representation, and the tensors that are not represented."""

    document: Document
    weights: Weights
    kept: dict[str, Kept]
