"""Write checkpoints as folders of the hub: `model.safetensors`, or shards with an index, and `config.json`."""

import json
from pathlib import Path
from typing import Final

from torch import Tensor

from nern_core.formats.hub_config import CONFIG
from nern_core.formats.hub_folder import INDEX, WEIGHTS
from nern_core.tensors.checkpoint import Checkpoint, separate
from nern_core.tensors.safetensors_files import write_safetensors

# Without it, transformers takes a file for one of another framework.
_METADATA: Final = {"format": "pt"}


def write_hub_folder(checkpoint: Checkpoint, folder: Path, shard_bytes: int | None = None) -> list[str]:
    """Write a checkpoint into an existing folder, and return the names of the files.

    With `shard_bytes`, tensors are written to files of at most that many bytes, unless one tensor is larger. The
    configuration is written if the checkpoint came with one.
    """
    tensors = checkpoint.named_as_in_file()
    shards = [tensors] if shard_bytes is None else _shards(tensors, shard_bytes)
    names = [WEIGHTS]
    if len(shards) > 1:
        stem = WEIGHTS.removesuffix(".safetensors")
        names = [f"{stem}-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        # safetensors rejects tensors that share memory or have strides.
        write_safetensors(separate(shard), folder / name, _METADATA)
    if len(shards) > 1:
        index = {
            "metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())},
            "weight_map": {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard},
        }
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        names.append(INDEX)
    if checkpoint.config is not None:
        (folder / CONFIG).write_text(json.dumps(dict(checkpoint.config), indent=2) + "\n", encoding="utf-8")
        names.append(CONFIG)
    return names


def _shards(tensors: dict[str, Tensor], most: int) -> list[dict[str, Tensor]]:
    """Divide tensors in their order."""
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in tensors.items():
        if shards[-1] and used + tensor.nbytes > most:
            shards.append({})
            used = 0
        shards[-1][name] = tensor
        used += tensor.nbytes
    return shards
