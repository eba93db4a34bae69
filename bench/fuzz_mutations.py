"""Random changes of bytes and of JSON for fuzzing."""

import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Final

_MOST_CHANGES = 4
_LONGEST_CHUNK = 24
_INTERESTING: Final = (
    *(0, 1, 2, 7, 8, 9, 127, 128, 255, 256, 2**15 - 1, 2**16 - 1, 2**24),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1, 2**64 - 1),
)
# Words of the formats: opcodes and globals of pickles, magic numbers, keys and dtypes of headers.
_WORDS: Final = (
    *(b"(", b")", b".", b"t", b"\x85", b"\x86", b"\x87", b"R", b"Q", b"b", b"u", b"s", b"a", b"e", b"]", b"}"),
    *(b"q\x00", b"h\x00", b"h\x01", b"K\x05", b"\x8a\x08" + b"\xff" * 8, b"\x80\x02", b"N", b"X\x01\x00\x00\x00a"),
    *(
        b"ccollections\nOrderedDict\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch\nFloatStorage\n",
        b"cos\nsystem\n",
    ),
    *(
        b"ctorch._utils\n_rebuild_tensor_v3\n",
        b"ctorch._utils\n_rebuild_parameter\n",
        b"ctorch\nSize\n",
        b"ctorch\nint8\n",
    ),
    *(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"\xff" * 4, b"\0" * 8),
    *(b'{"', b'":', b"[", b"]", b"{", b"}", b",", b'"', b"\\u0000", b"__metadata__", b"F32", b"dtype", b"shape", b"-1"),
)
_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, "", "x", "float16", "int8", "bool", "complex64", 0, 1, -1, 2**31, 2**40, 2**63, 2**64, 10**30),
    *(0.5, 1e308, -1e-320, [], {}, [0], [1, 2**40], [2**20, 2**20], [[[]]]),
    # Numbers beyond those of machines, in shapes that hold many values, one or none.
    *("complex128", 10**400, [0, 2**63], [0, 10**30], [0, 2**62, 2**62], [1, 10**400], {"$float": 10**400}),
)


def mutate(generator: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return one of the seeds with a few changes."""
    data = bytearray(generator.choice(seeds))
    for _ in range(generator.randint(1, _MOST_CHANGES)):
        change = generator.choice(_CHANGES)
        change(generator, data, seeds)
    return bytes(data)


def mutate_json(generator: random.Random, document: Any) -> Any:  # noqa: ANN401 # any JSON
    """Replace, repeat or remove a few values of the document, in place, and return it."""
    for _ in range(generator.randint(1, _MOST_CHANGES)):
        places = list(_places(document))
        container, key = generator.choice(places)
        kind = generator.random()
        if kind < 0.6:
            container[key] = deepcopy(generator.choice(_VALUES))
        elif kind < 0.8:
            other, other_key = generator.choice(places)
            container[key] = deepcopy(other[other_key])
        elif isinstance(container, list) and kind < 0.9:
            container.append(deepcopy(container[key]))
        else:
            del container[key]
        if not document:
            break
    return document


def _places(value: Any) -> Any:  # noqa: ANN401 # any JSON
    """Yield every container of the document with each of its keys."""
    pending = [value]
    while pending:
        container = pending.pop()
        for key in container if isinstance(container, dict) else range(len(container)):
            yield container, key
            if isinstance(container[key], dict | list):
                pending.append(container[key])


def _flip(generator: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    data[_place(generator, data)] ^= 1 << generator.randrange(8)


def _set_byte(generator: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    data[_place(generator, data)] = generator.randrange(256)


def _set_number(generator: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    size, at = generator.choice((1, 2, 4, 8)), _place(generator, data)
    value = generator.choice(_INTERESTING) % 2 ** (8 * size)
    data[at : at + size] = value.to_bytes(size, "little")


def _remove(generator: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = _place(generator, data)
    del data[at : at + generator.randint(1, _LONGEST_CHUNK)]


def _repeat(generator: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at, to = _place(generator, data), _place(generator, data)
    data[to:to] = data[at : at + generator.randint(1, _LONGEST_CHUNK)]


def _insert_word(generator: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = _place(generator, data)
    data[at:at] = generator.choice(_WORDS)


def _overwrite_word(generator: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at, word = _place(generator, data), generator.choice(_WORDS)
    data[at : at + len(word)] = word


def _cut(generator: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    del data[_place(generator, data) :]


def _splice(generator: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    other = generator.choice(seeds)
    at, to = generator.randrange(len(other)), _place(generator, data)
    data[to : to + _LONGEST_CHUNK] = other[at : at + generator.randint(1, _LONGEST_CHUNK)]


def _place(generator: random.Random, data: bytearray) -> int:
    """Return a random position in the data; empty data gets a byte first."""
    if not data:
        data.append(0)
    return generator.randrange(len(data))


_CHANGES: Final[tuple[Callable[[random.Random, bytearray, Sequence[bytes]], None], ...]] = (
    *(_flip, _set_byte, _set_number, _remove, _repeat, _insert_word, _overwrite_word, _splice, _cut),
)
