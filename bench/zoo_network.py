"""A network that is encoded in several ways: its checkpoint, a data set, inputs, and its names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nern_core.tensors.checkpoint import read_checkpoint

Batch = dict[str, Tensor]
Tensors = Mapping[str, Tensor]
EXAMPLES = 160
EXAMPLES_PER_BATCH = 16
_TEST_SEED = 1


class MissingPart(Exception):
    """A network needs something that this machine does not have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ZooNetwork:
    """A network to encode.

    `build` makes it without its weights; None for an ONNX file. `inputs` are batches of keyword arguments by seed.
    `architecture` is its name on the command line, `served` its name for a service; None if its file describes it.
    """

    checkpoint: Path
    dataset: Path
    inputs: Callable[[int], Sequence[Batch]]
    build: Callable[[], nn.Module] | None = None
    architecture: str | None = None
    served: str | None = None

    @property
    def test_inputs(self) -> Batch:
        """One batch that nothing is trained on."""
        return self.inputs(_TEST_SEED)[0]


def found(path: Path, what: str) -> Path:
    """Return a path that exists. Raises `MissingPart`."""
    if not path.exists():
        raise MissingPart(f"{what} is not here")
    return path


def tensors_of(path: Path) -> Tensors:
    """Read the tensors of a checkpoint."""
    return read_checkpoint(path).tensors


def loaded(network: nn.Module, tensors: Tensors) -> nn.Module:
    """Load tensors strictly: the network has them all, shared ones under one of their names. Others are left out."""
    # Batch normalization counts its batches; files of early versions of torch have no such counters.
    counters = {name: of for name, of in network.state_dict().items() if name.endswith("num_batches_tracked")}
    own, tensors = network.state_dict(), {**counters, **tensors}
    shared = {own[name].data_ptr(): tensor for name, tensor in tensors.items() if name in own and own[name].numel()}
    complete = {name: tensors[name] if name in tensors else shared[tensor.data_ptr()] for name, tensor in own.items()}
    network.load_state_dict(complete, strict=True)
    return network.eval()


def divided(arrays: Tensors) -> list[Batch]:
    """Divide arrays into batches."""
    parts = zip(*(tensor.split(EXAMPLES_PER_BATCH) for tensor in arrays.values()), strict=True)
    return [dict(zip(arrays, part, strict=True)) for part in parts]


def write_arrays(path: Path, arrays: Tensors) -> Path:
    """Write keyword arguments with one row for each example, and perhaps `labels`, as a data set."""
    named = {name if name == "labels" else f"inputs.{name}": tensor.numpy() for name, tensor in arrays.items()}
    np.savez(path, **named)  # type: ignore[arg-type] # its annotation has no names
    return path


def joined(batches: Sequence[Batch]) -> Batch:
    """Join batches into arrays with one row for each example."""
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def seeded(seed: int) -> torch.Generator:
    """Return a generator of random numbers."""
    return torch.Generator().manual_seed(seed)


def write_random_weights(path: Path, build: Callable[[], nn.Module]) -> Path:
    """Write the initial weights of a network, the same each time."""
    torch.manual_seed(0)
    torch.save(build().state_dict(), path)
    return path
