"""Data sets in one file, built without a library."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.conftest import DIGITS

ITEM_BYTES = {"U8": 1, "I64": 8, "I32": 4, "F32": 4}
Claim = tuple[str, tuple[int, ...]]
SMALL: dict[str, Claim] = {
    "train.images": ("U8", (3, 4, 5, 3)),
    "train.labels": ("I64", (3,)),
    "test.images": ("U8", (2, 4, 5, 3)),
    "test.labels": ("I64", (2,)),
}


def safetensors_file(
    claims: Mapping[str, Claim], metadata: Mapping[str, str] | None = None, data: bytes | None = None
) -> bytes:
    """Return a file with these dtypes and shapes, and with `data` or zeros."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end = 0
    for name, (dtype, shape) in claims.items():
        start, end = end, end + ITEM_BYTES[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + (bytes(end) if data is None else data)


def small_file(shade: int = 0) -> bytes:
    """Return a data set of five images, a different one for each shade."""
    total = sum(ITEM_BYTES[dtype] * math.prod(shape) for dtype, shape in SMALL.values())
    return safetensors_file(SMALL, data=bytes([shade]) + bytes(total - 1))


def digits_file() -> bytes:
    """Return the digits of the example as one file."""
    claims: dict[str, Claim] = {}
    data = b""
    for split in ("train", "test"):
        with np.load(DIGITS / f"{split}.npz") as file:
            images, labels = file["images"], file["labels"].astype("<i8")
        claims |= {f"{split}.images": ("U8", images.shape), f"{split}.labels": ("I64", labels.shape)}
        data += images.tobytes() + labels.tobytes()
    return safetensors_file(claims, data=data)
