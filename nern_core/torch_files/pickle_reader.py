"""The opcodes of pickles: those that torch.save writes, those of protocols 3 and 4 for the same values, no others."""

import struct
from collections.abc import Callable
from typing import Final

from nern_core.torch_files.descriptions import Storage
from nern_core.torch_files.pickle_machine import VALUE, PickleMachine, too_much
from nern_core.torch_files.problems import damaged, executable

LARGEST_PICKLE: Final = 2**24
_MOST_OPCODES = 2_000_000
_LONGEST_GLOBAL = 256
_STOP = b"."


class _Source:
    """The bytes of the pickles, and how far they are read."""

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
        end = self._data.find(b"\n", self.position, self.position + _LONGEST_GLOBAL)
        if end < 0:
            raise damaged("its pickle has a name without an end")
        line = self.take(end - self.position)
        self.position += 1
        return _decoded(line)


class PickleReader:
    """Reads pickles one after another out of `data`."""

    def __init__(self, data: bytes) -> None:
        self._source = _Source(data)
        self._machine = PickleMachine()
        self._opcodes = 0

    @property
    def position(self) -> int:
        """Where the last pickle ended."""
        return self._source.position

    @property
    def storages(self) -> dict[str, Storage]:
        """All storages that the pickles name, by key."""
        return self._machine.storages

    def read(self) -> object:
        """Interpret one pickle. Raises `NernError` for everything that does not describe plain values and tensors."""
        source, machine = self._source, self._machine
        machine.start()
        while (opcode := source.take(1)) != _STOP:
            self._opcodes += 1
            if self._opcodes > _MOST_OPCODES:
                raise too_much()
            action = _ACTIONS.get(opcode)
            if action is None:
                raise executable(f"has the pickle opcode 0x{opcode.hex()}, which no state dict needs")
            action(machine, source)
        return machine.pop()


def _push_integer(machine: PickleMachine, value: int) -> None:
    machine.push(value, VALUE + value.bit_length() // 8)


def _push_text(machine: PickleMachine, data: bytes) -> None:
    # Text beyond ASCII takes up to four bytes for each character.
    machine.push(_decoded(data), VALUE + len(data) * (1 if data.isascii() else 4))


def _push_bytes(machine: PickleMachine, data: bytes) -> None:
    machine.push(data, VALUE + len(data))


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise damaged("its pickle has text that is not UTF-8") from error


_ACTIONS: Final[dict[bytes, Callable[[PickleMachine, _Source], object]]] = {
    # The protocol, and the lengths of frames: the opcodes tell as much.
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
    b"G": lambda machine, source: machine.push(struct.unpack(">d", source.take(8))[0], VALUE),
    b"X": lambda machine, source: _push_text(machine, source.take(source.number(4))),
    b"\x8c": lambda machine, source: _push_text(machine, source.take(source.number(1))),
    b"T": lambda machine, source: _push_text(machine, source.take(source.number(4))),
    b"U": lambda machine, source: _push_text(machine, source.take(source.number(1))),
    b"B": lambda machine, source: _push_bytes(machine, source.take(source.number(4))),
    b"C": lambda machine, source: _push_bytes(machine, source.take(source.number(1))),
    # Containers.
    b"(": lambda machine, _: machine.mark(),
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
    # What describes tensors.
    b"c": lambda machine, source: machine.push_global(source.line(), source.line()),
    b"\x93": lambda machine, _: machine.push_global_of_names(),
    b"R": lambda machine, _: machine.call(),
    b"Q": lambda machine, _: machine.push_storage(),
}
