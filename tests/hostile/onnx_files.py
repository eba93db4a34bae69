"""ONNX files assembled from single fields of protocol buffers, such as no exporter would write."""

import struct
from collections.abc import Iterator

from tests.hostile.forge import SHAPE, VALUES, WEIGHTS, HostileFile

UNREADABLE, UNSUPPORTED, TENSOR = "unreadable_checkpoint", "unsupported_format", "unsupported_tensor"
FLOAT, INT64, FLOAT16, DOUBLE = 1, 7, 10, 11


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def part(field: int, content: bytes | str) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(data)) + data


def values(name: str, dims: tuple[int, ...], *fields: bytes, dtype: int = FLOAT) -> bytes:
    """Return a TensorProto."""
    return b"".join(number(1, size) for size in dims) + number(2, dtype) + b"".join(fields) + part(8, name)


def weight(name: str = "w", dims: tuple[int, ...] = SHAPE, data: bytes = WEIGHTS, dtype: int = FLOAT) -> bytes:
    return part(5, values(name, dims, part(9, data), dtype=dtype))


def node(operator: str, inputs: tuple[str, ...], output: str, *attributes: bytes, domain: str = "") -> bytes:
    named = b"".join(part(1, name) for name in inputs) + part(2, output) + part(4, operator)
    return part(1, named + b"".join(part(5, attribute) for attribute in attributes) + part(7, domain))


def external(name: str, location: str, **place: str) -> bytes:
    entries = {"location": location, **place}
    listed = [part(13, part(1, key) + part(2, value)) for key, value in entries.items()]
    return part(5, values(name, SHAPE, *listed, number(14, 1)))


def model(*graph: bytes, opset: int = 17) -> bytes:
    """Return a ModelProto around the parts of a graph, which uses the weight `w`."""
    info = part(1, part(1, number(1, FLOAT)))
    ends = part(11, part(1, "x") + part(2, info)) + part(12, part(1, "y") + part(2, info))
    content = part(2, "g") + node("Conv", ("x", "w"), "y") + b"".join(graph) + ends
    return number(1, 8) + part(2, "forged") + part(7, content) + part(8, part(1, "") + number(2, opset))


def nested(depth: int) -> bytes:
    """Return a branch of an If within a branch, and so on."""
    graph = weight("deepest")
    for _ in range(depth):
        graph = node("If", ("c",), "o", part(1, "then_branch") + part(6, graph) + number(20, 5))
    return graph


def models() -> Iterator[HostileFile]:
    """Yield files with false sizes, places and nesting."""
    good = model(weight())
    constant = part(1, "value") + part(5, values("", SHAPE, part(9, WEIGHTS)))
    for name, row, content, expected in (
        ("good", 11, good, None),
        ("truncated", 11, good[: len(good) // 2], UNREADABLE),
        ("only-its-first-bytes", 11, good[:12], UNREADABLE),
        ("no-graph", 11, number(1, 8) + part(2, "forged"), UNREADABLE),
        ("two-graphs", 11, good + part(7, b""), UNREADABLE),
        ("trailing-data", 11, good + b"#!/bin/sh", UNREADABLE),
        (
            "field-longer-than-the-file",
            11,
            number(1, 8) + part(2, "x") + varint(7 << 3 | 2) + varint(2**62),
            UNREADABLE,
        ),
        ("number-without-end", 11, number(1, 8) + part(2, "x") + b"\xff" * 100, UNREADABLE),
        ("unknown-kind-of-field", 11, number(1, 8) + part(2, "x") + b"\x0b\x0b", UNREADABLE),
        ("huge-shape", 8, model(weight(dims=(2**40, 2**20))), TENSOR),
        ("overflow", 8, model(weight(dims=(2**62, 4))), TENSOR),
        ("negative-size", 8, model(weight(dims=(2**64 - 1, 4))), TENSOR),
        ("65-dimensions", 8, model(weight(dims=(1,) * 65)), TENSOR),
        ("shape-for-other-bytes", 8, model(weight(dims=(32, 16, 3, 4))), UNREADABLE),
        ("bomb-in-a-shape", 8, model(weight(dims=(2**15, 2**15), data=b"")), UNREADABLE),
        ("bomb-in-raw-data", 7, model(weight(dims=(4, 4), data=bytes(2**20))), UNREADABLE),
        ("bomb-of-a-constant-shape", 7, model(weight(), node("ConstantOfShape", ("s",), "o")), None),
        ("values-in-pieces", 11, model(part(5, values("w", SHAPE, part(9, WEIGHTS), part(9, b"")))), UNSUPPORTED),
        ("values-of-another-type", 11, model(part(5, values("w", SHAPE, part(10, WEIGHTS)))), UNREADABLE),
        ("values-one-by-one", 11, model(part(5, values("w", (2,), *2 * [b"\x25" + bytes(4)]))), UNSUPPORTED),
        ("segments", 11, model(part(5, values("w", SHAPE, part(9, WEIGHTS), part(3, number(1, 0))))), UNSUPPORTED),
        ("sparse", 9, model(weight(), part(15, b"")), UNSUPPORTED),
        ("name-with-line-breaks", 11, model(weight("a\r\nb")), TENSOR),
        (
            "name-that-is-no-text",
            11,
            model(part(5, values("", SHAPE, part(9, WEIGHTS)) + part(8, b"\xff"))),
            UNREADABLE,
        ),
        ("name-of-4-kilobytes", 11, model(weight("a" * 4096)), TENSOR),
        ("name-of-a-megabyte", 11, model(weight("a" * 2**20)), UNREADABLE),
        ("no-name", 11, model(weight("")), TENSOR),
        ("same-name-twice", 11, model(weight(), weight()), None),
        ("names-of-modules", 11, model(weight("forward"), weight("a"), weight("a.b"), weight("..")), None),
        ("100001-weights", 11, model(*[weight(f"{i}", (1,), bytes(4)) for i in range(100_001)]), UNSUPPORTED),
        ("many-fields", 12, model(weight(), part(1, number(3, 1) * 1_100_000)), UNSUPPORTED),
        ("nesting", 12, model(weight(), nested(17)), UNSUPPORTED),
        ("deep-nesting", 12, model(weight(), nested(200)), UNSUPPORTED),
        ("two-values-of-a-constant", 12, model(weight(), node("Constant", (), "c", constant + constant)), UNREADABLE),
        ("external-above", 6, model(weight(), external("e", "../../etc/passwd")), UNSUPPORTED),
        ("external-absolute", 6, model(weight(), external("e", "/etc/passwd")), UNSUPPORTED),
        ("external-beside", 6, model(weight(), external("e", "spec.json")), UNSUPPORTED),
        ("external-far-away", 6, model(weight(), external("e", "a", offset="9" * 400)), UNREADABLE),
        ("external-of-another-length", 6, model(weight(), external("e", "a", length="1")), UNREADABLE),
        ("operator-of-a-stranger", 6, model(weight(), node("Run", ("x",), "o", domain="evil.example")), None),
        ("half-precision", 11, model(weight(data=bytes(2 * VALUES), dtype=FLOAT16)), None),
        (
            "half-precision-as-numbers",
            11,
            model(part(5, values("w", SHAPE, part(5, b"\x01" * VALUES), dtype=FLOAT16))),
            None,
        ),
        (
            "doubles",
            11,
            model(part(5, values("w", SHAPE, part(10, struct.pack(f"<{VALUES}d", *range(VALUES))), dtype=DOUBLE))),
            None,
        ),
    ):
        yield HostileFile(f"onnx-{name}.onnx", row, content, expected)
    integers = model(weight(data=bytes(8 * VALUES), dtype=INT64))
    yield HostileFile("onnx-integers.onnx", 11, integers, "no_tensors", at_upload=False, at_submission="no_kernels")
    spoilt = struct.pack("<f", float("nan")) + WEIGHTS[4:]
    yield HostileFile("onnx-nan.onnx", 13, model(weight(data=spoilt)), "non_finite", at_upload=False)
