"""Small data sets of encoded images, in every format."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from PIL import Image

HUB_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def image(shade: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    """Return a grey image of this width and height."""
    return Image.new("RGB", size, (shade, shade, shade))


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of an image file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(shade: int) -> bytes:
    """Return the file of a grey image."""
    return encoded(image(shade))


def write(path: Path, content: bytes) -> None:
    """Write a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def class_folders(root: Path, counts: Mapping[str, int], shade: int = 0) -> None:
    """Write `root/CLASS/NUMBER.png`, each image a shade lighter than the one before."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            write(root / name / f"{number}.png", png(shade))
            shade += 1


def table(shades: Sequence[int], labels: Sequence[Any] | None, column: str = "image") -> pa.Table:
    """Return a table as the hub has it."""
    columns: dict[str, Any] = {
        column: pa.array([{"bytes": png(shade), "path": f"{shade}.png"} for shade in shades], HUB_TYPE)
    }
    if labels is not None:
        columns["label"] = pa.array(labels)
    return pa.table(columns)


def parquet(path: Path, content: pa.Table, rows_per_group: int = 4) -> None:
    """Write a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(content, path, row_group_size=rows_per_group)


def saved(folder: Path, content: pa.Table) -> None:
    """Write a folder as `Dataset.save_to_disk` does, in two files."""
    folder.mkdir(parents=True)
    half = content.num_rows // 2
    names = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    for name, part in zip(names, (content.slice(0, half), content.slice(half)), strict=True):
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, content.schema) as writer:
            writer.write_table(part, max_chunksize=3)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")


def archive(path: Path, members: Mapping[str, bytes]) -> None:
    """Write a tar file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))


def shades(images: Any) -> list[int]:
    """Return the shade of each image of a stack (N, 3, H, W)."""
    return [int(value) for value in np.asarray(images)[:, 0, 0, 0]]
