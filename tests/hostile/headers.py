"""Safetensors files with false headers."""

import json
from collections.abc import Iterator

from tests.hostile.forge import WEIGHTS, HostileFile, claim, safetensors_file

UNREADABLE, UNSUPPORTED, TENSOR = "unreadable_checkpoint", "unsupported_format", "unsupported_tensor"
_END = len(WEIGHTS)


def _with_metadata(metadata: dict[str, str]) -> bytes:
    return safetensors_file({"__metadata__": metadata, "w": claim()})


def _with_metadata_of_lists() -> bytes:
    return safetensors_file(b'{"__metadata__":[' + b"[]," * 3_000_000 + b"[]]}")


def _with_100001_tensors() -> bytes:
    one, empty = json.dumps(claim()), json.dumps(claim(_END, _END, (0,)))
    many = ",".join(f'"{index}":{empty}' for index in range(100_000))
    return safetensors_file(f'{{"w":{one},{many}}}'.encode())


def headers() -> Iterator[HostileFile]:
    """Yield files with false lengths, offsets, names and JSON."""
    one = json.dumps(claim())
    for name, content, expected in (
        ("good", safetensors_file({"conv.weight": claim()}), None),
        ("longer-than-the-file", (2**40).to_bytes(8, "little") + b"{}", UNREADABLE),
        ("length-of-64-bits", b"\xff" * 7 + b"\x7f" + b"{}", UNREADABLE),
        ("header-of-11-megabytes", lambda: safetensors_file({"a" * 11_000_000: claim()}), UNREADABLE),
        (
            "hole",
            safetensors_file({"w": claim(), "x": claim(_END + 4, _END + 8, (1,))}, WEIGHTS + bytes(8)),
            UNREADABLE,
        ),
        ("overlap", safetensors_file({"w": claim(), "x": claim(0, 4, (1,))}), UNREADABLE),
        ("backwards", safetensors_file({"w": claim(_END, 0)}), UNREADABLE),
        ("overflow", safetensors_file({"w": claim(shape=(2**62, 4))}), TENSOR),
        ("shape-for-other-bytes", safetensors_file({"w": claim(shape=(32, 16, 3, 4))}), UNREADABLE),
        ("65-dimensions", safetensors_file({"w": claim(shape=(1,) * 65)}), TENSOR),
        ("unknown-dtype", safetensors_file({"w": claim(dtype="F4")}), TENSOR),
        ("truncated", safetensors_file({"w": claim()}, WEIGHTS[:-1]), UNREADABLE),
        ("trailing-data", safetensors_file({"w": claim()}, WEIGHTS + b"#!/bin/sh"), UNREADABLE),
        ("duplicate-name", safetensors_file(f'{{"w":{one},"w":{one}}}'.encode()), UNREADABLE),
        ("duplicate-name-escaped", safetensors_file(f'{{"w":{one},"\\u0077":{one}}}'.encode()), UNREADABLE),
        (
            "duplicate-metadata",
            safetensors_file(f'{{"__metadata__":{{}},"__metadata__":{{}},"w":{one}}}'.encode()),
            UNREADABLE,
        ),
        ("duplicate-field", safetensors_file(f'{{"w":{one[:-1]},"shape":[1]}}}}'.encode()), UNREADABLE),
        ("name-that-is-no-text", safetensors_file(b'{"\xff":' + one.encode() + b"}"), UNREADABLE),
        ("name-of-half-a-character", safetensors_file(f'{{"\\ud800":{one}}}'.encode()), TENSOR),
        ("name-with-line-breaks", safetensors_file({"a\r\nb": claim()}), TENSOR),
        ("name-of-4-kilobytes", safetensors_file({"a" * 4096: claim()}), TENSOR),
        (
            "metadata-of-9-megabytes",
            lambda: _with_metadata({"a": "b" * 9_000_000}),
            None,
        ),
        (
            "metadata-of-many-entries",
            lambda: _with_metadata({str(i): "" for i in range(500_000)}),
            None,
        ),
        ("metadata-of-numbers", safetensors_file({"__metadata__": {"a": 1}, "w": claim()}), UNREADABLE),
        (
            "metadata-of-lists",
            _with_metadata_of_lists,
            UNREADABLE,
        ),
        ("100001-tensors", _with_100001_tensors, UNSUPPORTED),
        ("nesting", lambda: safetensors_file(b'{"w":' + b"[" * 5_000_000 + b"}"), UNREADABLE),
        ("objects", lambda: safetensors_file(b'{"w":' + b'{"a":' * 1_000_000 + b"}"), UNREADABLE),
        ("no-json", safetensors_file(b"{" + bytes(1000)), UNREADABLE),
        ("fractions", safetensors_file({"w": claim() | {"data_offsets": [0.0, float(_END)]}}), UNREADABLE),
        ("negative", safetensors_file({"w": claim() | {"data_offsets": [-4, _END - 4]}}), UNREADABLE),
    ):
        yield HostileFile(f"safetensors-{name}.safetensors", 11, content, expected)
