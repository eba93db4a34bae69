"""The zip archive in which a folder of the hub is sent to a service."""

import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from nern_core.formats.hub_config import CONFIG
from nern_core.formats.hub_folder import HubFolder, folder_of, hub_folder_at

# The smallest date of zip archives: the same folder always gives the same archive, which is then sent only once.
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_LARGEST_WITHOUT_ZIP64: Final = 2**31 - 1
_INDEX: Final = re.compile(r".*\.index\.json")
# The configuration, and what a fast tokenizer is made of.
_SMALL: Final = re.compile(
    rf"{re.escape(CONFIG)}|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|"
    r"vocab\.(?:txt|json)|merges\.txt"
)
_LARGEST_SMALL: Final = 64 * 2**20


@contextmanager
def sendable(checkpoint: Path) -> Iterator[Path]:
    """Yield the file to send: a checkpoint itself, or an archive of a folder of the hub while the context is open.

    Raises `NernError` if the folder has no complete weights.
    """
    folder = hub_folder_at(checkpoint)
    if folder is None:
        yield checkpoint
        return
    with TemporaryDirectory(prefix="nern-") as name:
        home = folder_of(checkpoint)
        archive = Path(name) / f"{home.resolve().name}.zip"
        _write(archive, home, _names(folder, home, checkpoint))
        yield archive


def _names(folder: HubFolder, home: Path, checkpoint: Path) -> list[str]:
    """List the files to send: weights, their index, the configuration and the tokenizer."""
    indexes = [name for name in folder.files.names() if _INDEX.fullmatch(name)] if folder.index is not None else []
    if checkpoint.is_file():
        indexes = [checkpoint.name]
    small = [
        name
        for name in folder.files.names()
        if _SMALL.fullmatch(name) and (home / name).stat().st_size <= _LARGEST_SMALL
    ]
    return sorted({*small, *indexes, *folder.shards})


def _write(archive: Path, home: Path, names: list[str]) -> None:
    """Write the files without compression, because weights do not get smaller and are then read in place."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as written:
        for name in names:
            size = (home / name).stat().st_size
            info = zipfile.ZipInfo(name, _DATE)
            with (
                (home / name).open("rb") as source,
                written.open(info, "w", force_zip64=size > _LARGEST_WITHOUT_ZIP64) as sink,
            ):
                shutil.copyfileobj(source, sink)
