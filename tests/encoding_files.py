"""`.nern` files that no encoder writes."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open

from nern_core.formats.checksum import seal


def changed(path: Path, target: Path, change: Callable[[dict[str, Any]], None] | None) -> Path:
    """Write a copy with a changed document, or an invalid one without `change`, and a matching checksum."""
    tensors = safetensors.torch.load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    contents = json.loads(zlib.decompress(bytes(tensors["document"].tolist())))
    text = b"no document"
    if change is not None:
        change(contents)
        text = zlib.compress(json.dumps(contents).encode())
    tensors["document"] = torch.tensor(list(text), dtype=torch.uint8)
    safetensors.torch.save_file(tensors, target, metadata)
    seal(target)
    return target
