"""The files of a folder of the hub, on this machine or within a zip archive. Torch-free."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from nern_core.formats.file_section import section
from nern_core.formats.torch_files.zip_archive import Entry


class HubFiles(Protocol):
    """The files of a folder, without those in folders within it."""

    @property
    def name(self) -> str:
        """Return the name of the folder or archive."""

    def names(self) -> Collection[str]:
        """Return the names of all files."""

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading."""


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files of a folder on this machine."""

    path: Path

    @property
    def name(self) -> str:
        """Return the name of the folder."""
        return self.path.resolve().name

    def names(self) -> Collection[str]:
        """Return the names of all files; pipes and devices are none."""
        return sorted(path.name for path in self.path.iterdir() if path.is_file())

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading."""
        return (self.path / name).open("rb")


@dataclass(frozen=True, slots=True)
class ArchiveFiles:
    """The files of the folder in an open zip archive that holds the weights."""

    file: BinaryIO
    entries: Mapping[str, Entry]
    name: str = "the archive"

    def names(self) -> Collection[str]:
        """Return the names of all files."""
        return sorted(self.entries)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for reading."""
        entry = self.entries[name]
        with section(self.file, entry.start, entry.length) as opened:
            yield opened
