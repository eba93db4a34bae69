"""Data sets of plain arrays: one file with the arguments of a network, for any network.

An `.npz` or safetensors file with an array `inputs`, the only argument, or arrays `inputs.NAME`, keyword arguments such
as `inputs.input_ids`, and perhaps `labels`, the true classes. All have one row for each example.
"""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from nern_core.contract.errors import NernError, quoted, reason_of
from nern_core.formats.array_names import INPUTS, LABELS, names_arrays, problem_of_arrays
from nern_core.formats.npz_claims import check_claim

EXAMPLES_PER_BATCH: Final = 32
_ORDER_SEED: Final = 1
_ZIP_MAGIC: Final = b"PK\x03\x04"
# No network has more arguments; the sizes of each array are compared with all members of an archive.
_MOST_ARRAYS: Final = 1000
# Types whose rows can be chosen, and that networks take.
_TYPES: Final = frozenset(
    {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32}
    | {torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128}
)


def has_arrays(path: Path) -> bool:
    """Return True if a file is a data set of arrays, judged by the names in it."""
    if not path.is_file():
        return False
    try:
        return names_arrays(_names(path))
    except Exception:  # noqa: BLE001 # zipfile and safetensors raise many types for damaged files
        return False


def array_batches(
    path: Path, examples: int = EXAMPLES_PER_BATCH, dtype: torch.dtype = torch.float32
) -> Iterator[Mapping[str, Tensor] | tuple[Tensor, ...]]:
    """Read a file and yield batches of examples in a random order, always the same, as `read_batches` takes them.

    Floating-point arrays get this `dtype`. Raises `NernError` (`bad_data`).
    """
    tensors = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in read_arrays(path).items()
    }
    labels = tensors.pop(LABELS, None)
    order = torch.from_numpy(np.random.default_rng(_ORDER_SEED).permutation(len(next(iter(tensors.values())))))
    for rows in order.split(examples):
        chosen = {name: tensor[rows] for name, tensor in tensors.items()}
        inputs = {name.removeprefix(f"{INPUTS}."): tensor for name, tensor in chosen.items()}
        if INPUTS in chosen:
            yield (chosen[INPUTS],) if labels is None else (chosen[INPUTS], labels[rows])
        else:
            yield inputs if labels is None else {**inputs, LABELS: labels[rows]}


def _names(path: Path) -> list[str]:
    with path.open("rb") as file:
        is_archive = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
    if is_archive:
        with zipfile.ZipFile(path) as archive:
            return [info.filename.removesuffix(".npy") for info in archive.infolist()]
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def read_arrays(path: Path) -> dict[str, Tensor]:
    """Read all arrays; floating-point ones of 64 bits become float32, as networks have it.

    Raises `NernError` (`bad_data`).
    """
    try:
        if zipfile.is_zipfile(path):
            tensors = _read_archive(path)
        else:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # not a mapping
        for name, tensor in tensors.items():
            _check(name, tensor)
    except MemoryError:
        raise
    except Exception as error:  # numpy, zipfile, zlib and safetensors raise many types for damaged files
        reason = reason_of(error)
        raise NernError("bad_data", f"'{path}' is not a data set of arrays: {reason}.") from error
    problem = problem_of_arrays({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if problem is not None:
        raise NernError("bad_data", f"'{path}' {problem}.")
    labels = tensors.get(LABELS)
    if labels is not None and (labels.ndim != 1 or labels.is_floating_point()):
        raise NernError("bad_data", f"The `labels` of '{path}' must be one integer for each example.")
    return {name: tensor.float() if tensor.dtype == torch.float64 else tensor for name, tensor in tensors.items()}


def _check(name: str, tensor: Tensor) -> None:
    """Raise `ValueError` for an array of a type without rows, and for rows without values, which claim any number."""
    if tensor.dtype not in _TYPES:
        raise ValueError(f"the array {quoted(name)} has the type {str(tensor.dtype).removeprefix('torch.')}")
    if tensor.ndim and len(tensor) and not tensor.numel():
        raise ValueError(f"the rows of the array {quoted(name)} have no values")


def _read_archive(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        if len(file.files) > _MOST_ARRAYS:
            raise ValueError(f"it has {len(file.files):,} arrays, and may have {_MOST_ARRAYS:,}")
        for name in file.files:
            check_claim(file.zip, name)
        return {name: torch.from_numpy(file[name]) for name in file.files}
