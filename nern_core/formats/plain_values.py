"""Convert plain Python values to JSON and back, exactly: the contents of state dicts besides tensors. Torch-free.

Values without a JSON equivalent become an object with one entry, whose name starts with `$`: a tuple, bytes, a dict
with keys that are not strings, a number that is not finite.
"""

import base64
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from pydantic import JsonValue

_TUPLE, _BYTES, _FLOAT, _PAIRS, _ORDERED = "$tuple", "$bytes", "$float", "$pairs", "$ordered"
# Limits, because a few bytes of a pickle can repeat a value without end.
_MOST_VALUES = 50_000
_MOST_BYTES = 2**20
_DEEPEST = 32


class NotPlainError(Exception):
    """A value is not plain, or exceeds the limits."""


def from_json(written: JsonValue) -> object:
    """Read the output of a `PlainValuesWriter`. Raises `NotPlainError` for anything else."""
    if isinstance(written, list):
        return [from_json(item) for item in written]
    if not isinstance(written, dict):
        return written
    tag = next(iter(written), "")
    if not tag.startswith("$"):
        return {key: from_json(item) for key, item in written.items()}
    read = _READERS.get(tag)
    if read is None or len(written) != 1:
        raise NotPlainError
    try:
        return read(written[tag])
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise NotPlainError from error


class PlainValuesWriter:
    """Writes values as JSON, within limits on the total number and size of all of them."""

    def __init__(self) -> None:
        self._values = 0
        self._bytes = 0

    def write(self, value: object, depth: int = 0) -> JsonValue:
        """Write a value. Raises `NotPlainError`."""
        self._count(value)
        if depth > _DEEPEST:
            raise NotPlainError
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {_FLOAT: repr(value)}
        if isinstance(value, bytes):
            return {_BYTES: base64.b64encode(value).decode()}
        return self._container(value, depth)

    def _container(self, value: object, depth: int) -> JsonValue:
        if isinstance(value, list):
            return [self.write(item, depth + 1) for item in value]
        if isinstance(value, tuple):
            return {_TUPLE: [self.write(item, depth + 1) for item in value]}
        if isinstance(value, OrderedDict):
            return {_ORDERED: self._pairs(value, depth)}
        if not isinstance(value, dict):
            raise NotPlainError
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: self.write(item, depth + 1) for key, item in value.items()}
        return {_PAIRS: self._pairs(value, depth)}

    def _pairs(self, value: Mapping[object, object], depth: int) -> JsonValue:
        return [[self.write(key, depth + 1), self.write(item, depth + 1)] for key, item in value.items()]

    def _count(self, value: object) -> None:
        self._values += 1
        if isinstance(value, str | bytes):
            self._bytes += len(value)
        elif isinstance(value, int):
            self._bytes += value.bit_length() // 8
        if self._values > _MOST_VALUES or self._bytes > _MOST_BYTES:
            raise NotPlainError


def _read_pairs(written: JsonValue) -> list[tuple[object, object]]:
    if not isinstance(written, list):
        raise NotPlainError
    pairs = []
    for pair in written:
        key, value = pair if isinstance(pair, list) else []
        pairs.append((from_json(key), from_json(value)))
    return pairs


_READERS: Final[dict[str, Callable[..., object]]] = {
    _TUPLE: lambda written: tuple(from_json(item) for item in written),
    _BYTES: lambda written: base64.b64decode(written, validate=True),
    _FLOAT: float,
    _PAIRS: lambda written: dict(_read_pairs(written)),
    _ORDERED: lambda written: OrderedDict(_read_pairs(written)),
}
