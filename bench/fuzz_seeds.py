"""Small valid files to start fuzzing from, and functions that put a changed part back into a whole file."""

import argparse
import io
import json
import tempfile
import zipfile
import zlib
from collections import OrderedDict, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import safe_open

from bench.assets import HERE
from nern_core.container.kept import Kept, RoundedTensor
from nern_core.container.kept_bytes import COMPRESSED
from nern_core.formats.checksum import seal
from nern_core.representations.files import read_encoding, write_encoding

GOLDEN = HERE.parent / "tests" / "golden"
_PICKLE = "w/data.pkl"


def _contents() -> list[dict[str, Any]]:
    tied = torch.arange(8, dtype=torch.float32).view(2, 4)
    state = OrderedDict(weight=tied, again=tied, turned=tied.T, steps=torch.tensor(7), empty=torch.empty(0, 3))
    return [
        {"state_dict": state, "epoch": 3, "best_prec1": 91.7, "optimizer": {"state": {0: [None, True, (1, 2)]}}},
        {name: torch.zeros(2, dtype=dtype) for name, dtype in (("a", torch.bfloat16), ("b", torch.bool))}
        | {"c": torch.nn.Parameter(torch.ones(2, 2)), "d": torch.zeros(3, dtype=torch.float8_e5m2)},
        {"ema": torch.nn.BatchNorm2d(2).state_dict() | {"w": torch.ones(2, 2)}, **_beside_weights()},
    ]


def _beside_weights() -> dict[str, Any]:
    """Return other contents of a checkpoint than weights."""
    return {
        "args": argparse.Namespace(path=Path("a"), seen={("a", 1): frozenset({1})}),
        "best": np.float64(0.9),
        "counts": defaultdict(list, a=[1]),
        "huge": 7**800,
    }


def torch_files(*, zipped: bool) -> list[bytes]:
    """Return files of torch.save in one of its two formats."""
    files = []
    for content in _contents():
        for protocol in (0, 2, 4) if zipped else (1, 2):
            buffer = io.BytesIO()
            torch.save(content, buffer, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
            files.append(buffer.getvalue())
    return files


def safetensors_files() -> list[bytes]:
    """Return safetensors files, with and without metadata."""
    tensors = {"conv.weight": torch.ones(2, 1, 2, 2), "steps": torch.tensor(7), "half": torch.ones(3).half()}
    return [safetensors.torch.save(tensors), safetensors.torch.save(tensors, {"format": "pt"})]


def encodings() -> list[bytes]:
    """Return `.nern` files with a predictor, both permutations, quantized weights, and kept tensors of all kinds."""
    return [path.read_bytes() for path in sorted(GOLDEN.glob("*.nern"))] + [_encoding_with_kept_tensors()]


def _encoding_with_kept_tensors() -> bytes:
    encoding = read_encoding(GOLDEN / "quantized-v7.nern")
    kept: dict[str, Kept] = {
        "long": torch.linspace(0, 1, 300),
        "table": torch.linspace(-1, 1, 64).view(4, 4, 4).bfloat16(),
        "rounded": RoundedTensor(torch.arange(64, dtype=torch.int8).view(8, 8), -3, torch.float16),
        "constant": torch.full((3, 2), 0.5),
        "empty": torch.empty(0, 3),
    }
    document = encoding.document.model_copy(
        update={
            "tensor_order": (*encoding.document.tensor_order, *kept),
            "metadata": {"": {"version": 1}},
            "extra_states": {"table._extra_state": {"scale": {"$tuple": [1, 0.5]}}},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed"
        write_encoding(replace(encoding, document=document, kept=encoding.kept | kept), path)
        return path.read_bytes()


def pickle_of(archive: bytes) -> bytes:
    """Return the pickle in a zip file of torch."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return file.read(next(name for name in file.namelist() if name.endswith("data.pkl")))


def with_pickle(archive: bytes, pickle: bytes) -> bytes:
    """Return the same file with another pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w") as new:
        new.writestr(_PICKLE, pickle)
        for name in old.namelist():
            kind, _, rest = name.partition("/")[2].partition("/")
            if kind == "data":
                new.writestr(f"w/data/{rest}", old.read(name))
    return buffer.getvalue()


def document_of(encoding: Path) -> Any:  # noqa: ANN401 # any JSON
    """Return the JSON document in a `.nern` file."""
    with safe_open(encoding, framework="pt") as file:
        return json.loads(zlib.decompress(file.get_tensor("document").numpy().tobytes()))


def compressed(document: Any) -> bytes:  # noqa: ANN401 # any JSON
    """Return JSON compressed as in a `.nern` file."""
    return zlib.compress(json.dumps(document).encode(), level=1)


def packed_parts_of(encoding: Path) -> dict[str, bytes]:
    """Return the streams and the compressed kept tensors of a `.nern` file."""
    with safe_open(encoding, framework="pt") as file:
        names = [name for name in file.keys() if name == "streams" or name.startswith(COMPRESSED)]  # noqa: SIM118
        return {name: bytes(file.get_tensor(name).numpy().tobytes()) for name in names}


def with_parts(encoding: Path, parts: dict[str, bytes]) -> bytes:
    """Return the same file with other bytes in these uint8 tensors, and a matching checksum."""
    with safe_open(encoding, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # not a mapping
    tensors |= {name: torch.frombuffer(bytearray(part), dtype=torch.uint8) for name, part in parts.items() if part}
    changed = encoding.with_suffix(".changed")
    safetensors.torch.save_file(tensors, changed, metadata)
    seal(changed)
    return changed.read_bytes()
