"""The contents of a torch file, in either of its two formats."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

LITTLE_ENDIAN: Final = "little"


@dataclass(frozen=True, slots=True)
class Contents:
    """The described object, and the offset of each storage in the file, by its key.

    `refusal` is the reason for refusing the file, as the predicate of a sentence, if loading it would run code.
    """

    root: object
    starts: Mapping[str, int]
    refusal: str | None = None
