"""The protocol of a source of architectures, named `prefix:name`."""

from collections.abc import Sequence
from typing import Protocol

from nern_core.networks.architecture import Architecture


class ArchitectureProvider(Protocol):
    """Builds the architectures whose names begin with its prefix and a colon; this project's own have no prefix."""

    @property
    def prefix(self) -> str:
        """Return the part of the names before the colon."""

    def names(self) -> Sequence[str]:
        """Return all names, without the prefix."""

    def find(self, name: str) -> Architecture | None:
        """Return the architecture of this name, without the prefix; None if there is none."""
