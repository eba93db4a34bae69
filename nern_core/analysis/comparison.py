"""A checkpoint and its encoding, opened together, and the images that both are evaluated on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nern_core.container.encoding import Encoding
from nern_core.contract.errors import NernError, quoted
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
    document = comparison.encoding.document
    name, outputs = architecture or document.architecture, document.options.outputs or ()
    return evaluator_for(comparison.source, comparison.original, name, dataset, outputs=outputs, device=device)


def evaluator_for(
    source: Path | None,
    checkpoint: Checkpoint,
    architecture: str | None,
    dataset: Path,
    *,
    outputs: Sequence[str] = (),
    device: torch.device = _CPU,
) -> Evaluator | InputEvaluator:
    """Open the test split or the held-out inputs of a data set for a checkpoint that was read from `source`.

    ONNX files need no `architecture`. Raises `NernError` (`no_architecture`), and if the data do not fit.
    """
    if checkpoint.graph is not None:
        return open_onnx_evaluator(checkpoint.graph, checkpoint.tensors, dataset, outputs, device)
    name = _known(architecture, "The weights name no architecture")
    if is_transformers(name) and source is not None:
        return open_hub_evaluator(source, checkpoint, name, dataset, outputs, device)
    return open_any_evaluator(name, checkpoint.tensors, dataset, outputs=outputs, device=device)


def architecture_of(encoding: Encoding[Any], architecture: str | None) -> Architecture:
    """Return the architecture of an encoding's network, for measurements on labelled images.

    `architecture` overrides the one that the encoding names. Raises `NernError`, with the code `no_architecture` if
    neither names one, and `needs_images` for networks of transformers.
    """
    name = _known(architecture or encoding.document.architecture, "The encoding names no architecture")
    if is_transformers(name):
        raise NernError(
            "needs_images",
            "Fisher information, pruning curves, compressed predictors and direct quantization are measured with "
            f"labelled images, which {quoted(name)} does not take; omit the data set.",
        )
    return find_architecture(name)


def _known(name: str | None, problem: str) -> str:
    """Return the name of an architecture. Raises `NernError` (`no_architecture`) without one."""
    if name is None:
        raise NernError("no_architecture", f"{problem}; give --architecture to use a data set.")
    return name
