"""What a torch file holds, whichever of its two forms it has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

LITTLE_ENDIAN: Final = "little"


@dataclass(frozen=True, slots=True)
class Contents:
    """The described object, and where in the file each storage starts, by its key.

    `refusal` says why the file has to be refused, as the predicate of a sentence, if it would run a program.
    """

    root: object
    starts: Mapping[str, int]
    refusal: str | None = None
