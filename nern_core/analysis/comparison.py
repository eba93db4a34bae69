"""A checkpoint and its encoding, opened together, and the images that both are evaluated on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nern_core.container.encoding import Encoding
from nern_core.contract.errors import NernError
from nern_core.decoder import decode_encoding
from nern_core.inputs.hub_network import open_hub_evaluator
from nern_core.networks import Architecture, find_architecture
from nern_core.networks.evaluate import Evaluator, open_evaluator
from nern_core.networks.input_evaluator import InputEvaluator, open_any_evaluator
from nern_core.networks.onnx_graph import open_onnx_evaluator
from nern_core.networks.transformers_models.names import is_transformers
from nern_core.representations.files import read_encoding
from nern_core.tensors.checkpoint import Checkpoint, read_checkpoint
from nern_core.tensors.digest import digest_checkpoint

_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """An original, read from `source` unless it was in memory, its encoding in the file `path`, and the decoded one."""

    original: Checkpoint
    encoding: Encoding[Any]
    decoded: Checkpoint
    path: Path
    source: Path | None = None


def open_comparison(checkpoint: Path, encoding: Path) -> Comparison:
    """Read both files and decode.

    Raises `NernError`, with the code `another_checkpoint` if they do not belong together.
    """
    contents = read_encoding(encoding)
    expected = contents.document.source.sha256
    if digest_checkpoint(checkpoint).sha256 != expected:
        raise NernError(
            "another_checkpoint",
            f"'{encoding.name}' was not made from '{checkpoint.name}': "
            f"give the checkpoint whose SHA-256 is {expected}.",
        )
    document = contents.document
    original = read_checkpoint(checkpoint, document.options.key)
    if set(original.tensors) != set(document.tensor_order):
        file_names = document.file_names.by_name(document.tensor_order)
        original = original.renamed({found: name for name, found in file_names.items()})
    decoded = decode_encoding(contents)
    return Comparison(original=original, encoding=contents, decoded=decoded, path=encoding, source=checkpoint)


def evaluator_of(
    encoding: Encoding[Any],
    architecture: str | None,
    dataset: Path,
    *,
    images: int | None = None,
    device: torch.device = _CPU,
) -> Evaluator:
    """Open a data set's test split for an encoding; `architecture` overrides the one that the encoding names.

    Raises `NernError`, with the code `no_architecture` if neither names one.
    """
    return open_evaluator(architecture_of(encoding, architecture).name, dataset, images=images, device=device)


def any_evaluator_of(
    comparison: Comparison, architecture: str | None, dataset: Path, device: torch.device = _CPU
) -> Evaluator | InputEvaluator:
    """Open the test split or the held-out inputs of a data set for an encoding.

    Raises `NernError` as `evaluator_of` does.
    """
    outputs = comparison.encoding.document.options.outputs or ()
    tensors, graph = comparison.original.tensors, comparison.original.graph
    if graph is not None:
        return open_onnx_evaluator(graph, tensors, dataset, outputs, device)
    name = architecture_name(comparison.encoding, architecture)
    if is_transformers(name) and comparison.source is not None:
        return open_hub_evaluator(comparison.source, comparison.original, name, dataset, outputs, device)
    return open_any_evaluator(name, tensors, dataset, outputs=outputs, device=device)


def architecture_of(encoding: Encoding[Any], architecture: str | None) -> Architecture:
    """Return the architecture of an encoding's network. Raises `NernError` as `architecture_name` does."""
    return find_architecture(architecture_name(encoding, architecture))


def architecture_name(encoding: Encoding[Any], architecture: str | None) -> str:
    """Return the name of an encoding's architecture; `architecture` overrides the one that the encoding names.

    Raises `NernError`, with the code `no_architecture` if neither names one.
    """
    name = architecture or encoding.document.architecture
    if name is None:
        raise NernError("no_architecture", "The encoding names no architecture; give --architecture to use a data set.")
    return name
