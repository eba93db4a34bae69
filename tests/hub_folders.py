"""Small folders as the Hugging Face Hub has them."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor


def make_folder(
    folder: Path, tensors: Mapping[str, Tensor], *, shards: int = 1, config: Mapping[str, Any] | None = None
) -> Path:
    """Write tensors into one file, or one after the other into shards with an index."""
    folder.mkdir(parents=True)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors")
        return folder
    files = {number: f"model-{number + 1:05}-of-{shards:05}.safetensors" for number in range(shards)}
    names = list(tensors)
    for number, file in files.items():
        save_file({name: tensors[name] for name in names[number::shards]}, folder / file)
    index = {name: files[number % shards] for number, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


def zipped(folder: Path) -> Path:
    """Write the files of a folder into an archive beside it, without compression."""
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return path
