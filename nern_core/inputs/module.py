"""Read the input of an encoding from a network in memory."""

import hashlib
from collections.abc import Iterable
from typing import Any

import safetensors.torch
from torch import nn

from nern_core.container.document import Source
from nern_core.contract.options import EncodeOptions
from nern_core.inputs.source import EncodingInput, choose_layers
from nern_core.networks.input_set import read_batches
from nern_core.networks.shared_tensors import shared_names
from nern_core.tensors.checkpoint import find_tied
from nern_core.tensors.module_weights import checkpoint_of


def read_module(network: nn.Module, options: EncodeOptions, inputs: Iterable[Any] | None) -> EncodingInput:
    """Read the weights of a network, and its inputs. Raises `NernError` if they cannot be encoded or are invalid."""
    checkpoint = checkpoint_of(network)
    tied = find_tied(checkpoint.tensors)
    content = safetensors.torch.save(checkpoint.tensors)
    # Counted once, as in files, so that a target ratio means the same for a network and its checkpoint.
    repeated = [name for name, names in shared_names(network).items() if name != names[0]]
    size = len(content) - sum(checkpoint.tensors[name].nbytes for name in repeated)
    return EncodingInput(
        checkpoint=checkpoint,
        source=Source(sha256=hashlib.sha256(content).hexdigest(), bytes=size),
        layers=choose_layers(checkpoint, options, list(checkpoint.tensors), tied),
        tied=tied,
        network=network,
        inputs=None if inputs is None else read_batches(inputs, network, options.outputs or ()),
    )
