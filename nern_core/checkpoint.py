"""Checkpoints: read `.safetensors` and torch files into named tensors, and write both formats.

Published checkpoints are messy: the weights sit under `state_dict` or `model` beside epochs and
scores, names carry the `module.` of a data-parallel wrapper. Reading returns the plain state dict;
wrappers and everything that is not a tensor are left behind.
"""

import hashlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from nern_core.checkpoint_structure import CheckpointFormat, read_structure, strip_prefixes
from nern_core.errors import NernError

_WRAPPER_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "module")
_DEEPEST_WRAPPER = 8
# Equal tensors of fewer values are equal by chance as often as by design, and cost next to nothing.
_FEWEST_TIED_VALUES = 64


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Named tensors of a network, contiguous, on the CPU, in the order of the network's layers.

    Where a file keeps no order (safetensors sorts), the order is the natural one of the names.
    """

    tensors: dict[str, Tensor]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a `.safetensors` or torch (`.pt`, `.pth`, `.th`) file; the bytes decide, not the suffix.

    Raises `NernError` with the code `empty_checkpoint`, `not_a_checkpoint`, `unreadable_checkpoint`,
    `no_tensors`, `unsupported_tensor` or `non_finite`.
    """
    safetensors_file = read_structure(path).format is CheckpointFormat.SAFETENSORS
    loaded = _read_safetensors(path) if safetensors_file else _read_torch(path)
    tensors = strip_prefixes(
        {name: value for name, value in _unwrap(loaded).items() if isinstance(name, str) and isinstance(value, Tensor)}
    )
    if not tensors:
        raise NernError(
            "no_tensors", "The checkpoint holds no named tensors; save the network's state_dict() and send that."
        )
    _refuse_unusual_layouts(tensors)
    _refuse_non_finite(tensors)
    return Checkpoint(_separate(tensors))


def find_tied(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Find tensors that repeat an earlier one bit for bit, in shape, dtype and values; returns repeated by repeating.

    Weights that a network shares between layers are such, since a checkpoint names them once for each layer.
    The tensors are contiguous and on the CPU.
    """
    alike: dict[tuple[torch.dtype, torch.Size], list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.numel() >= _FEWEST_TIED_VALUES:
            alike.setdefault((tensor.dtype, tensor.shape), []).append(name)
    tied = {}
    for names in alike.values():
        first: dict[bytes, str] = {}
        for name in names if len(names) > 1 else ():
            repeated = first.setdefault(_digest(tensors[name]), name)
            if repeated != name:
                tied[name] = repeated
    return tied


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a plain state dict as safetensors or, for the suffixes `.pt`, `.pth` and `.th`, as a torch file.

    Raises `NernError` (`unknown_format`) for any other suffix.
    """
    if path.suffix == ".safetensors":
        # safetensors takes no tensors that share memory or have strides.
        safetensors.torch.save_file(_separate(checkpoint.tensors), path)
    elif path.suffix in {".pt", ".pth", ".th"}:
        torch.save(dict(checkpoint.tensors), path)
    else:
        raise NernError(
            "unknown_format", f"Cannot write '{path.name}': name the file *.safetensors or *.pt to choose its format."
        )


def _read_safetensors(path: Path) -> Mapping[object, object]:
    try:
        tensors = safetensors.torch.load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise NernError("unreadable_checkpoint", f"The safetensors file is damaged: {error}.") from error
    return {name: tensors[name] for name in sorted(tensors, key=_natural_order)}


def _read_torch(path: Path) -> Mapping[object, object]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise NernError(
            "unreadable_checkpoint",
            "The file is not a checkpoint that can be read safely; save the network's state_dict() with torch.save "
            "or safetensors and send that.",
        ) from error
    if not isinstance(loaded, Mapping):
        raise NernError(
            "no_tensors",
            f"The file holds a {type(loaded).__name__}, not a state dict; save the network's state_dict().",
        )
    return loaded


def _unwrap(loaded: Mapping[object, object]) -> Mapping[object, object]:
    """Descend through training-script wrappers such as `{"state_dict": ..., "best_prec1": ...}`."""
    for _ in range(_DEEPEST_WRAPPER):
        inner = next((loaded[key] for key in _WRAPPER_KEYS if isinstance(loaded.get(key), Mapping)), None)
        if not isinstance(inner, Mapping):
            break
        loaded = inner
    return loaded


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies, each in memory of its own."""
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def _digest(tensor: Tensor) -> bytes:
    return hashlib.sha256(tensor.view(torch.uint8).numpy().data).digest()


def _refuse_unusual_layouts(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_quantized:
            kind = "quantized" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
            raise NernError(
                "unsupported_tensor", f"Tensor '{name}' is {kind}; save it as an ordinary dense tensor and try again."
            )


def _refuse_non_finite(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            count = int((~tensor.isfinite()).sum())
            raise NernError(
                "non_finite",
                f"Tensor '{name}' has {count} NaN or infinite values; only finite weights can be encoded.",
            )


def _natural_order(name: str) -> list[tuple[bool, int, str]]:
    """Sort key under which `layer10` follows `layer9`."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]
