"""Safetensors files whose headers lie."""

import json
from collections.abc import Iterator

from tests.hostile.forge import WEIGHTS, HostileFile, claim, safetensors

UNREADABLE, UNSUPPORTED, TENSOR = "unreadable_checkpoint", "unsupported_format", "unsupported_tensor"
_END = len(WEIGHTS)


def headers() -> Iterator[HostileFile]:
    """Lengths, places, names and JSON that are not what they seem."""
    one = json.dumps(claim())
    empty = '{"dtype":"U8","shape":[0],"data_offsets":[%d,%d]}' % (_END, _END)  # noqa: UP031 # braces are JSON's
    many = ",".join(f'"{index}":{empty}' for index in range(100_000))
    for name, content, expected in (
        ("good", safetensors({"conv.weight": claim()}), None),
        ("longer-than-the-file", (2**40).to_bytes(8, "little") + b"{}", UNREADABLE),
        ("length-of-64-bits", b"\xff" * 7 + b"\x7f" + b"{}", UNREADABLE),
        ("header-of-11-megabytes", safetensors({"a" * 11_000_000: claim()}), UNREADABLE),
        ("hole", safetensors({"w": claim(), "x": claim(_END + 4, _END + 8, (1,))}, WEIGHTS + bytes(8)), UNREADABLE),
        ("overlap", safetensors({"w": claim(), "x": claim(0, 4, (1,))}), UNREADABLE),
        ("backwards", safetensors({"w": claim(_END, 0)}), UNREADABLE),
        ("overflow", safetensors({"w": claim(shape=(2**62, 4))}), TENSOR),
        ("shape-for-other-bytes", safetensors({"w": claim(shape=(32, 16, 3, 4))}), UNREADABLE),
        ("65-dimensions", safetensors({"w": claim(shape=(1,) * 65)}), TENSOR),
        ("unknown-dtype", safetensors({"w": claim(dtype="F4")}), TENSOR),
        ("truncated", safetensors({"w": claim()}, WEIGHTS[:-1]), UNREADABLE),
        ("trailing-data", safetensors({"w": claim()}, WEIGHTS + b"#!/bin/sh"), UNREADABLE),
        ("duplicate-name", safetensors(f'{{"w":{one},"w":{one}}}'.encode()), UNREADABLE),
        ("duplicate-name-escaped", safetensors(f'{{"w":{one},"\\u0077":{one}}}'.encode()), UNREADABLE),
        (
            "duplicate-metadata",
            safetensors(f'{{"__metadata__":{{}},"__metadata__":{{}},"w":{one}}}'.encode()),
            UNREADABLE,
        ),
        ("duplicate-field", safetensors(f'{{"w":{one[:-1]},"shape":[1]}}}}'.encode()), UNREADABLE),
        ("name-that-is-no-text", safetensors(b'{"\xff":' + one.encode() + b"}"), UNREADABLE),
        ("name-of-half-a-character", safetensors(f'{{"\\ud800":{one}}}'.encode()), TENSOR),
        ("name-with-line-breaks", safetensors({"a\r\nb": claim()}), TENSOR),
        ("name-of-4-kilobytes", safetensors({"a" * 4096: claim()}), TENSOR),
        ("metadata-of-9-megabytes", safetensors({"__metadata__": {"a": "b" * 9_000_000}, "w": claim()}), None),
        (
            "metadata-of-many-entries",
            safetensors({"__metadata__": {str(i): "" for i in range(500_000)}, "w": claim()}),
            None,
        ),
        ("metadata-of-numbers", safetensors({"__metadata__": {"a": 1}, "w": claim()}), UNREADABLE),
        ("metadata-of-lists", safetensors(b'{"__metadata__":[' + b"[]," * 3_000_000 + b"[]]}"), UNREADABLE),
        ("100001-tensors", safetensors(f'{{"w":{one},{many}}}'.encode()), UNSUPPORTED),
        ("nesting", safetensors(b'{"w":' + b"[" * 5_000_000 + b"}"), UNREADABLE),
        ("objects", safetensors(b'{"w":' + b'{"a":' * 1_000_000 + b"}"), UNREADABLE),
        ("no-json", safetensors(b"{" + bytes(1000)), UNREADABLE),
        ("fractions", safetensors({"w": claim() | {"data_offsets": [0.0, float(_END)]}}), UNREADABLE),
        ("negative", safetensors({"w": claim() | {"data_offsets": [-4, _END - 4]}}), UNREADABLE),
    ):
        yield HostileFile(f"safetensors-{name}.safetensors", 11, content, expected)
