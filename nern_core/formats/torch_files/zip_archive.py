"""Read the directory of a zip archive strictly: anything that two readers could interpret differently is refused.

Entries are neither compressed nor encrypted; names are unique; the two headers of every entry agree; entries follow one
another without overlap, from the first byte of the file to the directory, and only the end records follow the
directory. Archives beyond 4 GiB have their sizes in the zip64 fields.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from nern_core.formats.torch_files.problems import damaged, quoted, unsupported_format

_END, _END64, _LOCATOR64 = struct.Struct("<4s4H2IH"), struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI")
_CENTRAL, _LOCAL = struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s5H3I2H")
_END_MAGIC, _END64_MAGIC, _LOCATOR64_MAGIC = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_CENTRAL_MAGIC, _LOCAL_MAGIC = b"PK\x01\x02", b"PK\x03\x04"
_FULL16, _FULL32 = 2**16 - 1, 2**32 - 1
_ZIP64_FIELD = 1
_HAS_DESCRIPTOR, _UTF8 = 0x0008, 0x0800
_LARGEST_DESCRIPTOR = 24

MOST_ENTRIES: Final = 20_100
_LARGEST_DIRECTORY = 2**22


@dataclass(frozen=True, slots=True)
class Entry:
    """The position of an entry's bytes in the file."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class _Header:
    """An entry as listed in the directory."""

    name: bytes
    flags: int
    method: int
    length: int
    compressed: int
    offset: int


@dataclass(frozen=True, slots=True)
class _Directory:
    start: int
    length: int
    entries: int


def read_names(file: BinaryIO) -> list[str]:
    """Return the names in the directory, before anything about the entries is checked. Raises `NernError`."""
    directory = _find_directory(file)
    return [_decoded(header.name) for header in _headers(file, directory)]


def compressed_names(file: BinaryIO) -> list[str]:
    """Return the names of compressed entries, before anything else about them is checked. Raises `NernError`."""
    return [_decoded(header.name) for header in _headers(file, _find_directory(file)) if header.method != 0]


def read_entries(file: BinaryIO) -> dict[str, Entry]:
    """Return the entries by name. Raises `NernError` (`unreadable_checkpoint`, `unsupported_format`)."""
    directory = _find_directory(file)
    entries: dict[str, Entry] = {}
    end, has_descriptor = 0, False
    for header in sorted(_headers(file, directory), key=lambda header: header.offset):
        name = _decoded(header.name)
        if name in entries:
            raise damaged(f"it has two entries {quoted(name)}")
        _check_kind(header, name)
        gap = header.offset - end
        if gap < 0 or gap > (_LARGEST_DESCRIPTOR if has_descriptor else 0):
            raise damaged(f"its entry {quoted(name)} overlaps another one or leaves a gap")
        entry = _locate(file, header, name, directory.start)
        entries[name] = entry
        end, has_descriptor = entry.start + entry.length, bool(header.flags & _HAS_DESCRIPTOR)
    if not 0 <= directory.start - end <= (_LARGEST_DESCRIPTOR if has_descriptor else 0):
        raise damaged("its entries do not fill the file")
    return entries


def _find_directory(file: BinaryIO) -> _Directory:
    size = file.seek(0, os.SEEK_END)
    at = size - _END.size
    magic, disk, first_disk, here, entries, length, start, comment = _unpack(file, _END, at)
    if magic != _END_MAGIC or comment:
        raise damaged("it is cut short or continues after its end")
    locator_at = at - _LOCATOR64.size
    if locator_at >= 0 and (locator := _unpack(file, _LOCATOR64, locator_at))[0] == _LOCATOR64_MAGIC:
        _, disk_of_record, at, disks = locator
        if at != locator_at - _END64.size or disk_of_record or disks != 1:
            raise damaged("its zip64 record is not where it should be")
        found = _unpack(file, _END64, at)
        short = (disk, first_disk, here, entries, length, start)
        disk, first_disk, here, entries, length, start = found[4:]
        same = all(
            value in (wide, limit)
            for value, wide, limit in zip(short, found[4:], (_FULL16,) * 4 + (_FULL32,) * 2, strict=True)
        )
        if found[0] != _END64_MAGIC or not same:
            raise damaged("its two end records differ")
    if disk or first_disk or here != entries or start + length != at:
        raise damaged("its directory is not where its end record says")
    if entries > MOST_ENTRIES or length > _LARGEST_DIRECTORY:
        raise unsupported_format(f"is an archive of more than {MOST_ENTRIES:,} entries")
    return _Directory(start, length, entries)


def _headers(file: BinaryIO, directory: _Directory) -> Iterator[_Header]:
    file.seek(directory.start)
    data = file.read(directory.length)
    at = 0
    for _ in range(directory.entries):
        if at + _CENTRAL.size > len(data):
            raise damaged("its directory is cut short")
        fields = _CENTRAL.unpack_from(data, at)
        magic, _, _, flags, method, _, _, _, compressed, length = fields[:10]
        name_length, extra_length, comment_length, disk, _, _, offset = fields[10:]
        at += _CENTRAL.size
        name, extra = data[at : at + name_length], data[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length + comment_length
        if magic != _CENTRAL_MAGIC or disk or at > len(data):
            raise damaged("its directory is not a list of entries")
        length, compressed, offset = _widened((length, compressed, offset), extra)
        yield _Header(name, flags, method, length, compressed, offset)
    if at != len(data):
        raise damaged("its directory is longer than its entries")


def _widened(values: tuple[int, int, int], extra: bytes) -> tuple[int, ...]:
    """Replace values that do not fit into 32 bits by those of the zip64 field."""
    fields = {kind: body for kind, body in _extra_fields(extra) if kind == _ZIP64_FIELD}
    wide = fields.get(_ZIP64_FIELD, b"")
    missing = sum(value == _FULL32 for value in values)
    if len(wide) < 8 * missing:
        raise damaged("an entry lacks its zip64 sizes")
    numbers = iter(struct.unpack_from(f"<{missing}Q", wide))
    return tuple(next(numbers) if value == _FULL32 else value for value in values)


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        yield kind, extra[at + 4 : at + 4 + length]
        at += 4 + length


def _check_kind(header: _Header, name: str) -> None:
    if header.flags & ~(_HAS_DESCRIPTOR | _UTF8):
        raise damaged(f"its entry {quoted(name)} is encrypted or of an unknown kind")
    if header.method != 0 or header.compressed != header.length:
        raise damaged(f"its entry {quoted(name)} is compressed, which torch.save never does")


def _locate(file: BinaryIO, header: _Header, name: str, limit: int) -> Entry:
    """Read the local header of an entry and check that it agrees with the directory."""
    magic, _, flags, method, _, _, _, compressed, length, name_length, extra_length = _unpack(
        file, _LOCAL, header.offset
    )
    later = flags & _HAS_DESCRIPTOR and compressed == length == 0
    same_sizes = all(size in (header.length, _FULL32) for size in (compressed, length))
    if magic != _LOCAL_MAGIC or (flags, method) != (header.flags, header.method) or not (later or same_sizes):
        raise damaged(f"the two headers of its entry {quoted(name)} differ")
    if file.read(name_length) != header.name:
        raise damaged(f"the two headers of its entry {quoted(name)} differ in the name")
    start = header.offset + _LOCAL.size + name_length + extra_length
    if start + header.length > limit:
        raise damaged(f"its entry {quoted(name)} is longer than the file")
    return Entry(start, header.length)


def _unpack(file: BinaryIO, record: struct.Struct, at: int) -> tuple[Any, ...]:
    if at < 0:
        raise damaged("it is cut short")
    file.seek(at)
    data = file.read(record.size)
    if len(data) != record.size:
        raise damaged("it is cut short")
    return record.unpack(data)


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise damaged("the name of an entry is not UTF-8") from error
