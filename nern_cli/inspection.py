"""Facts about a file for `nern inspect`.

With the extra `encode`, the file is decoded. Without it, the facts are those that its structure tells, under the same
names, and notes on standard error say what is missing.
"""

import math
from pathlib import Path
from typing import Any

from nern_cli.extras import missing_extra
from nern_cli.terminal_text import print_note
from nern_core.contract.errors import NernError
from nern_core.contract.extras import install
from nern_core.contract.kernel_policy import ALL, SPATIAL
from nern_core.formats.checkpoint_structure import CheckpointStructure, no_tensors, read_structure, represented_shapes
from nern_core.formats.encoding_structure import is_encoding
from nern_core.formats.encoding_summary import read_summary
from nern_core.formats.hub_folder import bytes_of_checkpoint


def inspect_file(path: Path, key: str | None = None) -> dict[str, Any]:
    """Return facts about a `.nern` file, or about a checkpoint's weights under `key`. Raises `NernError` for others."""
    try:
        from nern_cli.decoded_facts import checkpoint_facts, encoding_facts
    except ModuleNotFoundError as error:
        if missing_extra(error) is None:
            raise
        return _encoding_facts(path) if is_encoding(path) else _checkpoint_facts(path, key)
    return encoding_facts(path) if is_encoding(path) else checkpoint_facts(path, key)


def _encoding_facts(path: Path) -> dict[str, Any]:
    summary, file_bytes = read_summary(path), path.stat().st_size
    tensor_bytes = min(summary.source_bytes, summary.tensor_bytes)
    print_note(
        "Facts of the representation and the bytes of each part are left out: they need the extra encode, "
        f"{install('encode')}"
    )
    return {
        "kind": "encoding",
        "format_version": summary.format_version,
        "architecture": summary.architecture,
        "recipe": summary.recipe,
        "representation": summary.kind,
        "represented_tensors": len(summary.represented),
        "represented_weights": summary.represented_weights,
        "kept_tensors": summary.kept_tensors,
        "tied_tensors": len(summary.tied),
        "source_sha256": summary.source_sha256,
        "source_bytes": summary.source_bytes,
        "tensor_bytes": tensor_bytes,
        "file_bytes": file_bytes,
        "ratio": round(tensor_bytes / file_bytes, 4),
    }


def _checkpoint_facts(path: Path, key: str | None) -> dict[str, Any]:
    structure = read_structure(path, key)
    if not structure.tensors:
        raise no_tensors()
    represented, spatial = _shapes(structure, ALL, hidden_size=0), _shapes(structure, SPATIAL, hidden_size=None)
    if len(set(represented)) < len(represented):
        print_note(f"Tied tensors count once for each name: finding them needs the extra encode, {install('encode')}")
    return {
        "kind": "checkpoint",
        "file_bytes": bytes_of_checkpoint(path),
        "tensors": len(structure.tensors),
        "weights": sum(math.prod(claim.shape) for claim in structure.tensors.values()),
        "tensor_bytes": structure.logical_bytes,
        "represented_tensors": len(represented),
        "represented_weights": sum(map(math.prod, represented)),
        "spatial_tensors": len(spatial),
        "spatial_weights": sum(map(math.prod, spatial)),
        "kernels": sum(math.prod(shape[:2]) for shape in spatial),
        "kernel_shapes": ", ".join(sorted({"x".join(map(str, shape[2:])) for shape in spatial})) or None,
        **({"graph_bytes": structure.graph_bytes} if structure.graph_bytes else {}),
        **({"notes": " ".join(structure.notes)} if structure.notes else {}),
    }


def _shapes(structure: CheckpointStructure, kernels: str, hidden_size: int | None) -> list[tuple[int, ...]]:
    """Return the shapes that a word of the option `kernels` selects; `hidden_size` as in `decoded_facts`."""
    try:
        return represented_shapes(structure, [kernels], hidden_size)
    except NernError as error:
        if error.code != "no_kernels":
            raise
        return []
