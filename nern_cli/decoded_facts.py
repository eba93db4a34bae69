"""Facts about a file for `nern inspect`, from its structure and its values. Needs the extra `encode`."""

from pathlib import Path
from typing import Any

from nern_core.contract.errors import NernError
from nern_core.contract.kernel_policy import ALL, SPATIAL
from nern_core.formats.encoding_structure import decoded_bytes, read_format_version
from nern_core.formats.hub_folder import bytes_of_checkpoint
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.files import measure_sizes, read_encoding
from nern_core.representations.registry import find_representation
from nern_core.tensors.checkpoint import Checkpoint, find_tied, read_checkpoint
from nern_core.tensors.kernels import by_head, select_layers


def encoding_facts(path: Path) -> dict[str, Any]:
    """Return facts about a `.nern` file. Raises `NernError` as `read_encoding` does."""
    encoding, sizes = read_encoding(path), measure_sizes(path)
    document = encoding.document
    with path.open("rb") as file:
        # A checkpoint stores tied tensors once.
        tensor_bytes = min(document.source.bytes, decoded_bytes(file))
    return {
        "kind": "encoding",
        "format_version": read_format_version(path),
        "architecture": document.architecture,
        "recipe": document.options.recipe.value,
        "representation": document.kind,
        **find_representation(document.kind).describe(encoding),
        "represented_tensors": len(document.layers),
        "represented_weights": sum(layer.weights for layer in document.layers),
        "kept_tensors": len(encoding.kept),
        "tied_tensors": len(document.tied),
        "source_sha256": document.source.sha256,
        "source_bytes": document.source.bytes,
        "tensor_bytes": tensor_bytes,
        "file_bytes": sizes.file,
        "predictor_bytes": sizes.predictor,
        "permutation_bytes": sizes.permutation,
        "integer_bytes": sizes.integers,
        "kept_bytes": sizes.kept,
        "header_bytes": sizes.header,
        **({"graph_bytes": sizes.graph} if sizes.graph else {}),
        "ratio": round(tensor_bytes / sizes.file, 4),
    }


def checkpoint_facts(path: Path, key: str | None) -> dict[str, Any]:
    """Return facts about a checkpoint's weights under `key`. Raises `NernError` as `read_checkpoint` does."""
    checkpoint = read_checkpoint(path, key)
    tensors = checkpoint.tensors
    represented, spatial = _layers(checkpoint, ALL, hidden_size=0), _layers(checkpoint, SPATIAL, hidden_size=None)
    return {
        "kind": "checkpoint",
        "file_bytes": bytes_of_checkpoint(path),
        "tensors": len(tensors),
        "weights": sum(tensor.numel() for tensor in tensors.values()),
        "tensor_bytes": sum(tensor.nbytes for tensor in tensors.values()),
        "represented_tensors": len(represented),
        "represented_weights": sum(layer.weights for layer in represented),
        "spatial_tensors": len(spatial),
        "spatial_weights": sum(layer.weights for layer in spatial),
        "kernels": sum(layer.kernels for layer in spatial),
        "kernel_shapes": ", ".join(by_head(spatial)) or None,
        **({} if checkpoint.graph is None else {"graph_bytes": len(checkpoint.graph)}),
        **({"notes": " ".join(checkpoint.notes)} if checkpoint.notes else {}),
    }


def _layers(checkpoint: Checkpoint, kernels: str, hidden_size: int | None) -> tuple[KernelLayer, ...]:
    """Select the layers for a word of the option `kernels`; `hidden_size` is 0 for quantized, None for a predictor."""
    try:
        return select_layers(checkpoint.tensors, [kernels], hidden_size, tied=find_tied(checkpoint.tensors))
    except NernError as error:
        if error.code != "no_kernels":
            raise
        return ()
