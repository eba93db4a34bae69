"""Read the input of an encoding from a folder of the hub whose network transformers builds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from nern_core.container.document import Source
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from nern_core.formats.encoding_structure import is_encoding
from nern_core.formats.hub_folder import read_beside
from nern_core.formats.text_files import has_text, read_lines
from nern_core.inputs.source import EncodingInput, choose_layers
from nern_core.networks.arrays import array_batches, has_arrays
from nern_core.networks.input_evaluator import InputEvaluator
from nern_core.networks.input_set import InputSet, floating_type, read_batches
from nern_core.networks.text_lines import Tokenizer, text_batches
from nern_core.networks.transformers_models.network import build_hub_network
from nern_core.tensors.checkpoint import Checkpoint, find_tied, read_checkpoint
from nern_core.tensors.digest import digest_checkpoint

_TOKENIZER: Final = "tokenizer.json"
_LARGEST_TOKENIZER: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class _Read:
    """A checkpoint under the names of its network; `beside` are the names of tensors that the network does not have."""

    checkpoint: Checkpoint
    network: nn.Module
    beside: frozenset[str]


def read_hub_network(path: Path, options: EncodeOptions, inputs: Iterable[Any] | None = None) -> EncodingInput:
    """Read the checkpoint, build its network, and read arrays or text lines.

    `inputs` are batches for the network, in place of a data set. Raises `NernError`.
    """
    read = _with_network(read_checkpoint(path, options.key), str(options.architecture))
    tensors = read.checkpoint.tensors
    # Other tensors are not trained, and kept exactly.
    own = replace(read.checkpoint, tensors={name: tensors[name] for name in tensors if name not in read.beside})
    order = [name for name in read.network.state_dict() if name in own.tensors]
    tied = find_tied(own.tensors)
    digest = digest_checkpoint(path)
    batches = None
    if inputs is not None:
        batches = read_batches(inputs, read.network, options.outputs or ())
    elif options.dataset is not None:
        batches = _inputs(path, Path(options.dataset), read, options.outputs or ())
    return EncodingInput(
        checkpoint=read.checkpoint,
        source=Source(sha256=digest.sha256, bytes=digest.bytes),
        layers=choose_layers(own, options, order, tied),
        tied=tied,
        network=read.network,
        inputs=batches,
        beside=read.beside,
    )


def open_hub_evaluator(
    path: Path, checkpoint: Checkpoint, architecture: str, dataset: Path, outputs: Sequence[str], device: torch.device
) -> InputEvaluator:
    """Open the held-out inputs of a data set for the `checkpoint` that was read from `path`. Raises `NernError`."""
    read = _with_network(checkpoint, architecture)
    inputs = _inputs(path, dataset, read, outputs)
    return InputEvaluator(network=read.network, inputs=inputs, device=device, beside=read.beside)


def _with_network(read: Checkpoint, architecture: str) -> _Read:
    """Build the network, and give the tensors its names."""
    found = build_hub_network(architecture, read.config, read.tensors)
    # The names of the network are by the plain names, which may differ from those in the file.
    by_file = {read.file_names.get(name, name): found.names.get(name, name) for name in read.tensors}
    checkpoint = read.renamed(by_file, found.notes)
    return _Read(checkpoint, found.network, frozenset(checkpoint.tensors.keys() - found.network.state_dict().keys()))


def _inputs(path: Path, dataset: Path, read: _Read, outputs: Sequence[str]) -> InputSet:
    if has_arrays(dataset):
        return read_batches(array_batches(dataset, dtype=floating_type(read.network)), read.network, outputs)
    if not has_text(dataset):
        raise NernError(
            "bad_data",
            f"'{dataset}' is no data set for a network of transformers; give an .npz or safetensors file with arrays "
            "`inputs.NAME`, or a .txt file with one example on each line.",
        )
    content = read_beside(path, _TOKENIZER, _LARGEST_TOKENIZER)
    if content is None:
        if is_encoding(path):
            raise NernError(
                "no_tokenizer",
                f"'{path.name}' has no tokenizer for text; decode it into a folder, copy the original's {_TOKENIZER} "
                "there and give the folder, or give arrays.",
            )
        raise NernError(
            "no_tokenizer",
            f"Text needs a {_TOKENIZER} of at most 64 MiB in the checkpoint's folder; write it with "
            "tokenizer.save_pretrained(FOLDER), or give arrays.",
        )
    text = read_lines(dataset)
    batches = text_batches(text.lines, Tokenizer(content), read.network, read.checkpoint.config or {})
    found = read_batches(batches, read.network, outputs)
    return replace(found, notes=(*text.notes, *found.notes))
