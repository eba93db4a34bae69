"""The format of torch.save before 1.6: five pickles one after another, then every storage with its length.

The pickles are the magic number, the version, facts about the machine, the object, and the keys of the storages in the
order of their bytes.
"""

import os
from typing import BinaryIO

from nern_core.formats.torch_files.contents import Contents
from nern_core.formats.torch_files.pickle_reader import LARGEST_PICKLE, PickleReader
from nern_core.formats.torch_files.problems import damaged, quoted, unsupported_format

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_LENGTH_BYTES = 8


def read_legacy(file: BinaryIO) -> Contents:
    """Describe the contents of the file. Raises `NernError` with one of the codes of `read_torch_file`."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    reader = PickleReader(file.read(LARGEST_PICKLE))
    if reader.read() != _MAGIC_NUMBER or reader.read() != _VERSION:
        raise damaged("it does not start like a file of torch.save")
    machine = reader.read()
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise unsupported_format("was written on a big-endian machine")
    root, keys = reader.read(), reader.read()
    if not isinstance(keys, list) or not all(type(key) is str for key in keys) or len(set(keys)) != len(keys):
        raise damaged("its storages have no list of keys")
    if set(keys) != set(reader.storages):
        raise damaged("the storages that it names are not those that it holds")
    starts, position = {}, reader.position
    for key in keys:
        storage = reader.storages[key]
        file.seek(position)
        items = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        position += _LENGTH_BYTES
        if items != storage.items or position + storage.length > size:
            raise damaged(f"its storage {quoted(key)} does not have the declared {storage.length} bytes")
        starts[key] = position
        position += storage.length
    if position != size:
        raise damaged("it continues after its last storage")
    return Contents(root, starts, reader.refusal)
