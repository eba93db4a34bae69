"""Torch and safetensors files assembled from single bytes, such as no library would write."""

import io
import json
import pickle
import struct
import zipfile
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# One layer that is worth encoding, so that a file is only refused for its manipulation.
SHAPE, STRIDE, VALUES = (32, 16, 3, 3), (144, 9, 3, 1), 4608
WEIGHTS = array("f", ((index % 101 - 50) / 100 for index in range(VALUES))).tobytes()
PROTOCOL, STOP = b"\x80\x02", b"."


@dataclass(frozen=True)
class HostileFile:
    """A file, its row in the threat table, and the expected outcome.

    `code` is the error code, or None for a file that only looks hostile. If `at_upload` is false, the structure is
    valid and the error occurs when the values are read. `at_submission` is the code with which the API refuses a file
    of valid structure that has nothing to encode.
    """

    name: str
    row: int
    # A function, if the content is large or slow to make: most processes use a few files only.
    made: bytes | Callable[[], bytes]
    code: str | None
    at_upload: bool = True
    at_submission: str | None = None

    @property
    def api_code(self) -> str | None:
        """Return the code of the API's refusal; None if it accepts the file."""
        return self.code if self.at_upload else self.at_submission

    @property
    def content(self) -> bytes:
        return self.made if isinstance(self.made, bytes) else self.made()


# Opcodes


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def sequence(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def integers(values: tuple[int, ...]) -> bytes:
    return sequence(*map(integer, values))


def named(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def called(name: str, *arguments: bytes) -> bytes:
    return named(name) + sequence(*arguments) + b"R"


def mapping(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


ORDERED_DICT = called("collections.OrderedDict")


def storage(key: str = "0", items: int = VALUES, kind: str = "torch.FloatStorage") -> bytes:
    return sequence(text("storage"), named(kind), text(key), text("cpu"), integer(items)) + b"Q"


def tensor(
    stored: bytes | None = None,
    size: tuple[int, ...] | bytes = SHAPE,
    stride: tuple[int, ...] | bytes = STRIDE,
    offset: int = 0,
) -> bytes:
    sizes, strides = (part if isinstance(part, bytes) else integers(part) for part in (size, stride))
    parts = (stored or storage(), integer(offset), sizes, strides, b"\x89", ORDERED_DICT)
    return called("torch._utils._rebuild_tensor_v2", *parts)


def state(**extra: bytes) -> bytes:
    """Return a pickle of the layer that is worth encoding, plus `extra`."""
    return PROTOCOL + mapping({"conv.weight": tensor(), **extra}) + STOP


# Files


def archive(
    pickled: bytes, storages: Mapping[str, bytes] | None = None, more: Mapping[str, bytes] | None = None
) -> bytes:
    """Return a torch zip file around a pickle."""
    entries = {"w/data.pkl": pickled, "w/byteorder": b"little"}
    entries |= {f"w/data/{key}": data for key, data in ({"0": WEIGHTS} | dict(storages or {})).items()}
    return zipped(entries | {"w/version": b"3\n"} | dict(more or {}))


def zipped(entries: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in entries.items():
            file.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def legacy(
    pickled: bytes,
    *,
    keys: tuple[str, ...] = ("0",),
    storages: bytes = struct.pack("<q", VALUES) + WEIGHTS,
    version: int = 1001,
    little_endian: bool = True,
) -> bytes:
    """Return a file of torch before 1.6 around a pickle."""
    machine = {"protocol_version": version, "little_endian": little_endian, "type_sizes": {"int": 4}}
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, version, machine)]
    return b"".join([*head, pickled, pickle.dumps(list(keys), 2), storages])


def safetensors_file(header: Any, data: bytes = WEIGHTS) -> bytes:
    """Return a safetensors file with a header of JSON, or of these bytes."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + data


def claim(
    first: int = 0, last: int = len(WEIGHTS), shape: tuple[int, ...] = SHAPE, dtype: str = "F32"
) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [first, last]}
