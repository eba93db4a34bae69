"""Find the format of a data set of encoded images."""

import zipfile
from pathlib import Path
from typing import Final

from nern_core.contract.errors import NernError
from nern_core.formats.array_names import problem_of_names
from nern_core.networks.image_files.folders import read_folder
from nern_core.networks.image_files.parquet import read_parquet
from nern_core.networks.image_files.parts import ImageFiles
from nern_core.networks.image_files.saved import is_saved, read_saved
from nern_core.networks.image_files.webdataset import read_webdataset

_PARQUET_MAGIC: Final = b"PAR1"
_NPY_MAGIC: Final = b"\x93NUMPY"
_ZIP_MAGIC: Final = b"PK\x03\x04"
_TAR_MAGIC: Final = b"ustar"
_TAR_MAGIC_END: Final = 257 + len(_TAR_MAGIC)
# Place of the JSON in a safetensors file.
_SAFETENSORS_JSON: Final = 8
_ARRAYS: Final = ("train.npz", "test.npz")


def find_image_files(path: Path) -> ImageFiles | None:
    """Read the description of a data set of encoded images; None if it is another one, or does not exist.

    Raises `NernError`: `bad_data`, `not_a_dataset`, or `missing_extra` if pyarrow is needed and not installed.
    """
    if path.is_file():
        return _in_file(path)
    if not path.is_dir() or any((path / name).exists() for name in _ARRAYS):
        return None
    return _in_folder(path)


def _in_file(path: Path) -> ImageFiles | None:
    """Read a file by its content: one that was sent to a service may have any name."""
    with path.open("rb") as file:
        head = file.read(_TAR_MAGIC_END)
    if head.startswith(_PARQUET_MAGIC):
        return read_parquet(path, [path])
    if not head:
        raise NernError("bad_data", f"'{path}' is an empty file; write it again.")
    if head.startswith(_NPY_MAGIC):
        raise NernError(
            "bad_data", f"'{path}' holds one array (.npy); write `inputs`, and `labels` if known, with numpy.savez."
        )
    if head.startswith(_ZIP_MAGIC):
        if arrays := _arrays_in(path):
            raise NernError("not_a_dataset", f"'{path}' {problem_of_names(arrays)}.")
        raise NernError(
            "not_a_dataset",
            f"'{path}' is a zip archive; give the unpacked folder of images, the folder with train.npz and test.npz, "
            "or an .npz file with `inputs`.",
        )
    is_safetensors = head[_SAFETENSORS_JSON:].startswith(b"{")
    if not is_safetensors and (head.endswith(_TAR_MAGIC) or path.suffix == ".tar"):
        return read_webdataset(path, [path])
    return None


def _arrays_in(path: Path) -> list[str]:
    """Return the names of the arrays in a zip archive; none if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return []
    return [name.removesuffix(".npy") for name in names if name.endswith(".npy")]


def _in_folder(path: Path) -> ImageFiles | None:
    if is_saved(path):
        return read_saved(path)
    # A table may lie beside pictures for its description, and images beside the archive that they came in.
    if tables := _files(path, ".parquet"):
        return read_parquet(path, tables)
    found = read_folder(path)
    if found is None and (archives := _files(path, ".tar")):
        return read_webdataset(path, archives)
    return found


def _files(folder: Path, suffix: str) -> list[Path]:
    """Return the files with a suffix that are not hidden; they may be links, as in the cache of the Hub."""
    found = (path for path in folder.rglob(f"*{suffix}") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))
