"""The zip archive of torch.save since 1.6: a pickle, and an entry of raw bytes per storage."""

import re
from typing import BinaryIO

from nern_core.contract.errors import NernError
from nern_core.formats.torch_files.contents import Contents
from nern_core.formats.torch_files.pickle_reader import LARGEST_PICKLE, PickleReader
from nern_core.formats.torch_files.problems import damaged, executable, quoted, unsupported_format
from nern_core.formats.torch_files.zip_archive import Entry, read_entries, read_names

_NAMES = re.compile(
    r"[^/]+/(?:data\.pkl|version|byteorder|\.format_version|\.storage_alignment|\.data/[^/]+|data/[0-9]+)"
)
_TORCHSCRIPT = re.compile(r"(?:.*/)?constants\.pkl|.*/code/.*\.py")
_EXPORTED = re.compile(r"(?:.*/)?(?:archive_format|models/[^/]+\.json|serialized_exported_program\.json)")
_LONGEST_BYTEORDER = 8


def read_zip(file: BinaryIO) -> Contents:
    """Describe the contents of the archive. Raises `NernError` with one of the codes of `read_torch_file`."""
    _refuse_other_archives(read_names(file))
    entries = read_entries(file)
    if strange := next((name for name in entries if not _NAMES.fullmatch(name)), None):
        raise damaged(f"it has an entry {quoted(strange)}, which torch.save never writes")
    folders = {name.partition("/")[0] for name in entries}
    if len(folders) != 1:
        raise damaged("its entries lie in several folders")
    folder = folders.pop()
    _check_byteorder(file, entries.get(f"{folder}/byteorder"))
    reader = PickleReader(_read(file, entries[f"{folder}/data.pkl"]))
    root = reader.read()
    starts = {}
    for key, storage in reader.storages.items():
        entry = entries.get(f"{folder}/data/{key}")
        if entry is None or entry.length != storage.length:
            raise damaged(f"its storage {quoted(key)} is missing or does not have the declared {storage.length} bytes")
        starts[key] = entry.start
    return Contents(root, starts, reader.refusal)


def _refuse_other_archives(names: list[str]) -> None:
    """Refuse formats that people mistake for weights."""
    if any(_TORCHSCRIPT.fullmatch(name) for name in names):
        raise executable("is a TorchScript archive, which is a program")
    if any(_EXPORTED.fullmatch(name) for name in names):
        raise executable("is an exported program (.pt2)")
    if any(name.endswith("model.weights.h5") for name in names):
        raise NernError(
            "not_a_checkpoint",
            "The file is a Keras model; load it in Keras, save its weights by name with safetensors.numpy.save_file, "
            "and use that.",
        )
    if names and all(name.endswith(".npy") for name in names):
        raise NernError(
            "not_a_checkpoint",
            "The file is an archive of numpy arrays; save them by name with safetensors.numpy.save_file and use that.",
        )
    if not any(name.endswith("/data.pkl") for name in names):
        raise NernError(
            "not_a_checkpoint",
            "The file is a zip archive, but not from torch.save; save the network's state_dict() with torch.save "
            "or safetensors, and use that.",
        )


def _check_byteorder(file: BinaryIO, entry: Entry | None) -> None:
    if entry is not None and (entry.length > _LONGEST_BYTEORDER or _read(file, entry) != b"little"):
        raise unsupported_format("was written on a big-endian machine")


def _read(file: BinaryIO, entry: Entry) -> bytes:
    if entry.length > LARGEST_PICKLE:
        raise unsupported_format(f"has a pickle of more than {LARGEST_PICKLE:,} bytes")
    file.seek(entry.start)
    return file.read(entry.length)
