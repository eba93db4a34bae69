"""The opcodes of pickles: those of protocols 0 to 5, except references to values outside of the file."""

import struct
from collections.abc import Callable
from typing import Final

from nern_core.formats.torch_files.descriptions import LeftBehind, Storage
from nern_core.formats.torch_files.known_globals import identified, storage_of_text
from nern_core.formats.torch_files.pickle_machine import VALUE, PickleMachine, too_much
from nern_core.formats.torch_files.problems import damaged, executable

LARGEST_PICKLE: Final = 2**24
_MOST_OPCODES = 2_000_000
_LONGEST_LINE = 256
# Digits of protocol 0 and bytes of others: larger numbers are dropped, because they are never part of weights.
_MOST_DIGITS = 300
_MOST_NUMBER_BYTES = 255
_STOP = b"."


class _Source:
    """The bytes of the pickles, and the position in them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        taken = self._data[self.position : self.position + count]
        if len(taken) != count:
            raise damaged("its pickle is cut short")
        self.position += count
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def signed(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little", signed=True)

    def line(self) -> str:
        """Read a short line."""
        return _decoded(self.long_line(_LONGEST_LINE))

    def long_line(self, limit: int = LARGEST_PICKLE) -> bytes:
        end = self._data.find(b"\n", self.position, self.position + limit)
        if end < 0:
            raise damaged("its pickle has a name without an end")
        line = self.take(end - self.position)
        self.position += 1
        return line

    def index(self) -> int:
        """Read a short line of digits: an index into the memo."""
        line = self.line()
        if not (line.isascii() and line.isdigit()):
            raise damaged("its pickle has a memo index that is not a number")
        return int(line)


class PickleReader:
    """Reads pickles one after another from `data`."""

    def __init__(self, data: bytes) -> None:
        self._source = _Source(data)
        self._machine = PickleMachine()
        self._opcodes = 0

    @property
    def position(self) -> int:
        """Return the end of the last pickle."""
        return self._source.position

    @property
    def storages(self) -> dict[str, Storage]:
        """Return all storages that the pickles name, by key."""
        return self._machine.storages

    @property
    def refusal(self) -> str | None:
        """Return the reason for refusing the file, as the predicate of a sentence, if loading it would run code."""
        return self._machine.refusal

    def read(self) -> object:
        """Interpret one pickle. Raises `NernError` for anything that does not describe values, objects and tensors."""
        source, machine = self._source, self._machine
        machine.start()
        while (opcode := source.take(1)) != _STOP:
            self._opcodes += 1
            if self._opcodes > _MOST_OPCODES:
                raise too_much()
            action = _ACTIONS.get(opcode)
            if action is None:
                raise executable(f"has the pickle opcode 0x{opcode.hex()}, which state dicts do not need")
            action(machine, source)
        return machine.pop()


def _push_integer(machine: PickleMachine, value: int) -> None:
    machine.push(value, VALUE + value.bit_length() // 8)


def _push_long_integer(machine: PickleMachine, source: _Source) -> None:
    length = source.number(4)
    data = source.take(length)
    if length > _MOST_NUMBER_BYTES:
        machine.push(LeftBehind("builtins.int"), VALUE)
    else:
        _push_integer(machine, int.from_bytes(data, "little", signed=True))


def _push_number_in_digits(machine: PickleMachine, source: _Source) -> None:
    """Push an integer of protocol 0; `00` and `01` are the two values of a bool."""
    line = source.long_line()
    if line in {b"00", b"01"}:
        machine.push(line == b"01")
    elif len(line) > _MOST_DIGITS:
        machine.push(LeftBehind("builtins.int"), VALUE)
    else:
        _push_integer(machine, int(_number(int, line.removesuffix(b"L"))))


def _number(kind: type[int] | type[float], digits: bytes) -> float:
    try:
        return kind(digits)
    except ValueError as error:
        raise damaged("its pickle has a number with characters that are not digits") from error


def _push_escaped_text(machine: PickleMachine, source: _Source) -> None:
    """Push text of protocol 0, with escaped line breaks and characters beyond Latin-1."""
    data = source.long_line()
    machine.push(_decoded(data, "raw-unicode-escape"), VALUE + 4 * len(data))


def _push_quoted_text(machine: PickleMachine, source: _Source) -> None:
    """Push a quoted string of Python 2; one with escapes is dropped, because names of tensors have none."""
    data = source.long_line()
    if len(data) < 2 or data[:1] not in b"'\"" or data[:1] != data[-1:]:
        raise damaged("its pickle has a string without quotes")
    if b"\\" in data:
        machine.push(LeftBehind("builtins.str"), VALUE)
    else:
        _push_text(machine, data[1:-1])


def _push_text(machine: PickleMachine, data: bytes) -> None:
    # Text with characters beyond ASCII takes up to four bytes per character.
    machine.push(_decoded(data), VALUE + len(data) * (1 if data.isascii() else 4))


def _push_bytes(machine: PickleMachine, data: bytes) -> None:
    machine.push(data, VALUE + len(data))


def _decoded(data: bytes, encoding: str = "utf-8") -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise damaged("its pickle has text that is not UTF-8") from error


_ACTIONS: Final[dict[bytes, Callable[[PickleMachine, _Source], object]]] = {
    # Skip the protocol and the lengths of frames, which are not needed.
    b"\x80": lambda _, source: source.take(1),
    b"\x95": lambda _, source: source.take(8),
    # Values.
    b"N": lambda machine, _: machine.push(None),
    b"\x88": lambda machine, _: machine.push(True),
    b"\x89": lambda machine, _: machine.push(False),
    b"K": lambda machine, source: machine.push(source.number(1)),
    b"M": lambda machine, source: _push_integer(machine, source.number(2)),
    b"J": lambda machine, source: _push_integer(machine, source.signed(4)),
    b"\x8a": lambda machine, source: _push_integer(machine, source.signed(source.number(1))),
    b"\x8b": _push_long_integer,
    b"I": _push_number_in_digits,
    b"L": _push_number_in_digits,
    b"F": lambda machine, source: machine.push(_number(float, source.long_line(_LONGEST_LINE)), VALUE),
    b"V": _push_escaped_text,
    b"S": _push_quoted_text,
    b"G": lambda machine, source: machine.push(struct.unpack(">d", source.take(8))[0], VALUE),
    b"X": lambda machine, source: _push_text(machine, source.take(source.number(4))),
    b"\x8c": lambda machine, source: _push_text(machine, source.take(source.number(1))),
    b"T": lambda machine, source: _push_text(machine, source.take(source.number(4))),
    b"U": lambda machine, source: _push_text(machine, source.take(source.number(1))),
    b"B": lambda machine, source: _push_bytes(machine, source.take(source.number(4))),
    b"C": lambda machine, source: _push_bytes(machine, source.take(source.number(1))),
    b"\x8e": lambda machine, source: _push_bytes(machine, source.take(source.number(8))),
    b"\x96": lambda machine, source: _push_bytes(machine, source.take(source.number(8))),
    # Containers.
    b"(": lambda machine, _: machine.mark(),
    b"0": lambda machine, _: machine.drop(),
    b"1": lambda machine, _: machine.pop_to_mark(),
    b"2": lambda machine, _: machine.repeat(),
    b"l": lambda machine, _: machine.push_list_of_marked(),
    b"\x91": lambda machine, _: machine.push_frozen_set_of_marked(),
    b"d": lambda machine, _: machine.push_dict_of_marked(),
    b")": lambda machine, _: machine.push(()),
    b"\x85": lambda machine, _: machine.push_tuple(machine.pop_several(1)),
    b"\x86": lambda machine, _: machine.push_tuple(machine.pop_several(2)),
    b"\x87": lambda machine, _: machine.push_tuple(machine.pop_several(3)),
    b"t": lambda machine, _: machine.push_tuple(machine.pop_to_mark()),
    b"]": lambda machine, _: machine.push_list(),
    b"\x8f": lambda machine, _: machine.push_list(),
    b"a": lambda machine, _: machine.append(machine.pop_several(1)),
    b"e": lambda machine, _: machine.append(machine.pop_to_mark()),
    b"\x90": lambda machine, _: machine.append(machine.pop_to_mark()),
    b"}": lambda machine, _: machine.push_dict(),
    b"s": lambda machine, _: machine.set_items(machine.pop_several(2)),
    b"u": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    b"b": lambda machine, _: machine.build(),
    # The memo.
    b"q": lambda machine, source: machine.remember(source.number(1)),
    b"r": lambda machine, source: machine.remember(source.number(4)),
    b"\x94": lambda machine, _: machine.remember(),
    b"h": lambda machine, source: machine.recall(source.number(1)),
    b"j": lambda machine, source: machine.recall(source.number(4)),
    b"p": lambda machine, source: machine.remember(source.index()),
    b"g": lambda machine, source: machine.recall(source.index()),
    # Descriptions of tensors and objects.
    b"c": lambda machine, source: machine.push_global(source.line(), source.line()),
    b"\x93": lambda machine, _: machine.push_global_of_names(),
    b"R": lambda machine, _: machine.call(),
    b"i": lambda machine, source: machine.create_named(source.line(), source.line()),
    b"o": lambda machine, _: machine.create_of_marked(),
    b"\x81": lambda machine, _: machine.create(*machine.pop_several(2)),
    b"\x92": lambda machine, _: machine.create(*machine.pop_several(3)),
    b"Q": lambda machine, _: machine.push_identified(identified(machine.pop())),
    b"P": lambda machine, source: machine.push_identified(storage_of_text(source.line())),
}
