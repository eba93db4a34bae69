"""Walk the messages of a protocol-buffers file, field by field, without reading what is skipped. Torch-free.

Each step reads a few bytes. The number of fields is limited, so that a file cannot take more than seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from nern_core.formats.onnx_files.problems import damaged, unsupported

VARINT, EIGHT_BYTES, TEXT, FOUR_BYTES = 0, 1, 2, 5
_MOST_FIELDS: Final = 1_000_000
_LONGEST_TEXT: Final = 4096
_LONGEST_VARINT: Final = 10
_CHUNK: Final = 2**20
_CONTINUED: Final = bytes(range(128, 256))


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message: its number, its kind, the value of a varint, and the place of its bytes in the file."""

    number: int
    kind: int
    value: int
    start: int
    end: int

    @property
    def bytes(self) -> int:
        """Return the number of bytes of its content."""
        return self.end - self.start


class MessageReader:
    """Reads the messages of one open file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._fields = 0

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """Yield the fields of the message in these bytes. Raises `NernError` (`unreadable_checkpoint`, ...)."""
        at = start
        while at < end:
            self._fields += 1
            if self._fields > _MOST_FIELDS:
                raise unsupported(f"has more than {_MOST_FIELDS:,} fields")
            field = self._field(at, end)
            yield field
            at = field.end

    def text(self, field: Field) -> str:
        """Return the text of a field. Raises `NernError`."""
        if field.kind != TEXT or field.bytes > _LONGEST_TEXT:
            raise damaged("a name in it is no text, or too long")
        try:
            return self._read(field.start, field.bytes).decode()
        except UnicodeDecodeError as error:
            raise damaged("a name in it is no text") from error

    def varints(self, field: Field) -> list[int]:
        """Return the integers of a repeated field with at most some of them, packed or single."""
        if field.kind == VARINT:
            return [field.value]
        if field.kind != TEXT or field.bytes > _LONGEST_TEXT:
            raise damaged("a list of sizes is too long")
        data, at, found = self._read(field.start, field.bytes), 0, []
        while at < len(data):
            value, length = _varint(data[at : at + _LONGEST_VARINT])
            found.append(value)
            at += length
        return found

    def count_varints(self, field: Field) -> int:
        """Count the integers of a packed field of any length."""
        if field.kind != TEXT:
            return 1
        count = 0
        for at in range(field.start, field.end, _CHUNK):
            # All bytes of an integer but the last have their highest bit set.
            count += len(self._read(at, min(_CHUNK, field.end - at)).translate(None, _CONTINUED))
        return count

    def _field(self, at: int, end: int) -> Field:
        head = self._read(at, min(2 * _LONGEST_VARINT, end - at))
        tag, length = _varint(head)
        number, kind = tag >> 3, tag & 7
        begin = at + length
        if kind == VARINT:
            value, length = _varint(head[length:])
            return Field(number, kind, value, begin, begin + length)
        if kind == TEXT:
            size, taken = _varint(head[length:])
            begin += taken
        elif kind in {EIGHT_BYTES, FOUR_BYTES}:
            size = 8 if kind == EIGHT_BYTES else 4
        else:
            raise damaged("it has fields of an unknown kind")
        if number == 0 or size > end - begin:
            raise damaged("a field in it is longer than the file or than the part that holds it")
        return Field(number, kind, 0, begin, begin + size)

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        data = self._file.read(size)
        if len(data) != size:
            raise damaged("it ends too early")
        return data


def _varint(data: bytes) -> tuple[int, int]:
    """Return the integer at the beginning of these bytes, and its length."""
    value = 0
    for position, byte in enumerate(data[:_LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value & (2**64 - 1), position + 1
    raise damaged("a number in it does not end")
