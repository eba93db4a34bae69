"""What a torch file holds, whichever of its two forms it has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

LITTLE_ENDIAN: Final = "little"


@dataclass(frozen=True, slots=True)
class Contents:
    """The described object, and where in the file each storage starts, by its key."""

    root: object
    starts: Mapping[str, int]
