"""Recognize files that people mistake for data sets, and say what a data set is. Torch-free."""

from pathlib import PurePath
from typing import Final

from nern_core.contract.errors import NernError

DATASET_KINDS: Final = (
    "a folder of images, by class or without classes; Parquet, WebDataset, or a folder of `save_to_disk`; a folder "
    "with train.npz and test.npz; an .npz or .safetensors file of arrays; or a .txt file of lines"
)
HEAD_BYTES: Final = 512
# Place of the JSON in a safetensors file.
_SAFETENSORS_JSON: Final = 8
_BY_HEAD: Final = (
    (b"\x89PNG", "is a single image"),
    (b"\xff\xd8\xff", "is a single image"),
    (b"GIF8", "is a single image"),
    (b"BM", "is a single image"),
    (b"II*\x00", "is a single image"),
    (b"MM\x00*", "is a single image"),
    (b"RIFF", "is a single image, or a sound"),
    (b"PK\x03\x04", "is a zip archive, such as an .npz file; `nern datasets upload` converts it"),
    (b"\x1f\x8b", "is compressed by gzip; unpack it"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd; unpack it"),
    (b"BZh", "is compressed by bzip2; unpack it"),
    (b"\xfd7zXZ\x00", "is compressed by xz; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "is an archive; unpack it"),
    (b"Rar!", "is an archive; unpack it"),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
    (b"ARROW1", "is an Arrow file; give the folder that `save_to_disk` wrote"),
    (b"version https://git-lfs.github.com/spec/", "is a pointer of Git LFS; run `git lfs pull` in its repository"),
    (b"%PDF", "is a PDF document"),
)
_BY_SUFFIX: Final = {
    ".onnx": "is a checkpoint, which comes before the options",
    ".nern": "is an encoding",
    ".pt": "is a file of torch, which may be a checkpoint",
    ".pth": "is a file of torch, which may be a checkpoint",
    ".csv": "is a table of text",
    ".tsv": "is a table of text",
    ".json": "is a JSON text",
    ".jsonl": "is a JSON text",
}


def other_dataset(head: bytes, name: str = "") -> NernError | None:
    """Return the error for a file that is no data set, by its first bytes and its name.

    None for a safetensors file, even a damaged or empty one, whose problem its reader knows.
    """
    found = next((what for magic, what in _BY_HEAD if head.startswith(magic)), None)
    found = found or _BY_SUFFIX.get(PurePath(name).suffix.lower())
    if found is None and (len(head) <= _SAFETENSORS_JSON or head[_SAFETENSORS_JSON:].startswith(b"{")):
        return None
    called = f"'{name}'" if name else "The file"
    return NernError("not_a_dataset", f"{called} {found or 'has an unknown format'}. A data set is {DATASET_KINDS}.")
