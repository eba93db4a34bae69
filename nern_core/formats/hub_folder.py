"""Folders as the Hugging Face Hub has them: `config.json`, and weights in one file or in shards. Torch-free.

A folder is read on this machine, or within a zip archive whose entries are not compressed. Only files directly in the
folder count, and an index may name no others.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from nern_core.contract.errors import NernError, quoted
from nern_core.formats.checkpoint_format import HEAD_BYTES, CheckpointFormat, format_of
from nern_core.formats.hub_config import read_config
from nern_core.formats.hub_files import ArchiveFiles, FolderFiles, HubFiles
from nern_core.formats.tensor_claims import MOST_TENSORS, check_name, too_many_tensors
from nern_core.formats.torch_files.zip_archive import compressed_names, read_entries, read_names

WEIGHTS: Final = "model.safetensors"
INDEX: Final = f"{WEIGHTS}.index.json"
_INDEX_SUFFIX: Final = ".index.json"
# Names of weights, the usual ones first.
_USUAL: Final = tuple(
    f"{name}{suffix}"
    for name in (WEIGHTS, "diffusion_pytorch_model.safetensors", "pytorch_model.bin")
    for suffix in ("", _INDEX_SUFFIX)
)
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,254}")
_LARGEST_INDEX: Final = 16 * 2**20
_MOST_SHARDS: Final = 2000
_MOST_NAMED: Final = 4


@dataclass(frozen=True, slots=True)
class HubFolder:
    """The weights of a folder: the names of its files with tensors, and the file of each tensor in an index.

    `shards` are in the order of their names.
    """

    files: HubFiles
    shards: tuple[str, ...]
    index: Mapping[str, str] | None = None

    @contextmanager
    def open(self, shard: str) -> Iterator[BinaryIO]:
        """Open a file with tensors. A `NernError` within the context names the file."""
        try:
            with self.files.open(shard) as file:
                yield file
        except NernError as error:
            raise NernError(error.code, f"{shard}: {error.message}") from error

    def config(self) -> dict[str, Any] | None:
        """Return the content of `config.json`; None without one. Raises `NernError` (`bad_config`)."""
        return read_config(self.files)

    def refuse_other_tensors(self, names: Mapping[str, Collection[str]]) -> None:
        """Raise `NernError` (`unreadable_checkpoint`) unless the tensors of each file are those of the index."""
        seen: dict[str, str] = {}
        for shard, tensors in names.items():
            for name in tensors:
                if name in seen:
                    raise _damaged(f"the tensor {quoted(name)} is in {quoted(seen[name])} and in {quoted(shard)}")
                seen[name] = shard
        if len(seen) > MOST_TENSORS:
            raise too_many_tensors()
        for name, shard in (self.index or {}).items():
            if seen.get(name) != shard:
                raise _damaged(f"{quoted(shard)} has no tensor {quoted(name)}, which the index names")
        if self.index is not None and (beside := seen.keys() - self.index.keys()):
            raise _damaged(f"the index does not name the tensor {quoted(min(beside))}")


class _Index(BaseModel):
    """An index of shards; other entries than the map do not matter."""

    model_config = ConfigDict(frozen=True, strict=True)

    weight_map: dict[str, str]


def hub_folder_at(path: Path) -> HubFolder | None:
    """Return the folder that a path to it or to the index of its shards names; None for any other file.

    Raises `NernError` (`not_a_checkpoint`, `unreadable_checkpoint`) if it has no weights or they are incomplete.
    """
    if path.is_dir():
        return _folder(FolderFiles(path))
    if path.name.endswith(".json") and path.is_file() and _is_index(path):
        return _indexed(FolderFiles(path.parent), path.name)
    return None


@contextmanager
def open_hub(path: Path) -> Iterator[HubFolder | None]:
    """Open the folder, index or zip archive of a folder at a path; None for any other file. Raises `NernError`."""
    folder = hub_folder_at(path)
    if folder is not None or not path.is_file():
        yield folder
        return
    with path.open("rb") as file:
        is_zip = format_of(file.read(HEAD_BYTES)) is CheckpointFormat.TORCH_ZIP
        yield hub_archive(file) if is_zip and is_hub_archive(read_names(file)) else None


def read_beside(path: Path, name: str, most: int) -> bytes | None:
    """Return a file of the folder that `open_hub` opens, of at most `most` bytes; None if there is none."""
    with open_hub(path) as folder:
        if folder is None or name not in folder.files.names():
            return None
        with folder.files.open(name) as file:
            content = file.read(most + 1)
    return None if len(content) > most else content


def named_architecture(path: Path) -> str | None:
    """Return the first of the `architectures` in the configuration of the folder that `open_hub` opens; None without.

    A folder that cannot be read has none, too: reading its weights tells why.
    """
    try:
        with open_hub(path) as folder:
            config = None if folder is None else folder.config()
    except NernError:
        return None
    names = (config or {}).get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    return name if isinstance(name, str) and name.isidentifier() else None


def bytes_of_checkpoint(path: Path) -> int:
    """Return the bytes of a file, or of all files with tensors of a folder. Raises `NernError` as `hub_folder_at`."""
    folder = hub_folder_at(path)
    if folder is None:
        return path.stat().st_size
    return sum((folder_of(path) / shard).stat().st_size for shard in folder.shards)


def folder_of(path: Path) -> Path:
    """Return the folder that a path to it or to its index names."""
    return path if path.is_dir() else path.parent


def is_hub_archive(names: Collection[str]) -> bool:
    """Return True if the names in a zip archive are those of a folder of the hub."""
    return any(is_weights(PurePosixPath(name).name) for name in names)


def hub_archive(file: BinaryIO) -> HubFolder:
    """Return the folder in a zip archive for which `is_hub_archive` is true. Raises `NernError` as `hub_folder_at`."""
    if compressed := compressed_names(file):
        raise NernError(
            "unsupported_format",
            f"The archive's entry {quoted(compressed[0])} is compressed; zip the folder without compression "
            "(`zip -0 -r`), or send it with `nern submit FOLDER`.",
        )
    entries = {name: entry for name, entry in read_entries(file).items() if not name.endswith("/")}
    folders = sorted({str(PurePosixPath(name).parent) for name in entries if is_weights(PurePosixPath(name).name)})
    if len(folders) > 1:
        raise _no_checkpoint(f"The archive holds weights in several folders, {_listed(folders)}; zip one of them")
    inside = {PurePosixPath(name).name: entry for name, entry in entries.items() if _parent(name) == folders[0]}
    return _folder(ArchiveFiles(file, inside))


def _parent(name: str) -> str:
    return str(PurePosixPath(name).parent)


def is_weights(name: str) -> bool:
    """Return True for the name of a file with weights, or of an index of such files."""
    return _PLAIN_NAME.fullmatch(name) is not None and (
        name in _USUAL or name.endswith((".safetensors", f".safetensors{_INDEX_SUFFIX}"))
    )


def _folder(files: HubFiles) -> HubFolder:
    """Choose the weights of a folder: the usual names first, or else the only safetensors file or index."""
    names = files.names()
    found = next((name for name in _USUAL if name in names), None)
    if found is None:
        others = [name for name in names if name.endswith(f".safetensors{_INDEX_SUFFIX}")]
        others = others or [name for name in names if name.endswith(".safetensors")]
        if not others:
            raise _no_checkpoint(
                f"The folder {quoted(files.name)} holds no {WEIGHTS} and no {INDEX}; name the file that holds the "
                "weights"
            )
        if len(others) > 1:
            raise _no_checkpoint(
                f"The folder {quoted(files.name)} holds several checkpoints, {_listed(others)}; name one of them"
            )
        found = others[0]
    return _indexed(files, found) if found.endswith(_INDEX_SUFFIX) else HubFolder(files, (found,))


def _indexed(files: HubFiles, name: str) -> HubFolder:
    """Read an index. Raises `NernError` (`unreadable_checkpoint`)."""
    with files.open(name) as file:
        text = file.read(_LARGEST_INDEX + 1)
    if len(text) > _LARGEST_INDEX:
        raise _damaged("the index is larger than 16 MiB")
    try:
        index = _Index.model_validate_json(text).weight_map
    except ValidationError as error:
        raise _damaged("the index does not map the names of tensors to files") from error
    if len(index) > MOST_TENSORS:
        raise too_many_tensors()
    for tensor in index:
        check_name(tensor)
    shards = sorted(set(index.values()))
    if not shards or len(shards) > _MOST_SHARDS:
        raise _damaged(f"the index names {len(shards):,} files")
    if strange := next((shard for shard in shards if not _PLAIN_NAME.fullmatch(shard)), None):
        raise _damaged(f"the index names {quoted(strange)}, which is no name of a file in its folder")
    present = set(files.names())
    if missing := [shard for shard in shards if shard not in present]:
        raise _damaged(f"{len(missing)} of {len(shards)} files of the index are missing, such as {quoted(missing[0])}")
    return HubFolder(files, tuple(shards), index)


def _is_index(path: Path) -> bool:
    """Return True for a JSON file that has a `weight_map`, or is named like an index."""
    if path.name.endswith(_INDEX_SUFFIX):
        return True
    if path.stat().st_size > _LARGEST_INDEX:
        return False
    return re.match(rb'\s*\{(?s:.*)"weight_map"\s*:', path.read_bytes()) is not None


def _damaged(reason: str) -> NernError:
    return NernError("unreadable_checkpoint", f"The checkpoint cannot be read: {reason}; use a complete copy.")


def _no_checkpoint(sentence: str) -> NernError:
    return NernError("not_a_checkpoint", f"{sentence}.")


def _listed(names: Collection[str]) -> str:
    named = ", ".join(quoted(name) for name in list(names)[:_MOST_NAMED])
    return named if len(names) <= _MOST_NAMED else f"{named} and {len(names) - _MOST_NAMED} others"
