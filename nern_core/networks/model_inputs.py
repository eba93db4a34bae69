"""Inputs of any network: one tensor, or a nesting of tuples, lists and dictionaries with tensors in it."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

# A tensor is the only argument, a tuple holds positional arguments, a dictionary holds keyword arguments.
ModelInputs: TypeAlias = Tensor | tuple[Any, ...] | dict[str, Any]


def arguments_of(inputs: ModelInputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional arguments and the keyword arguments that a network is called with."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def call(network: nn.Module, inputs: ModelInputs) -> Any:  # noqa: ANN401 # networks return anything
    """Call a network with its inputs."""
    positional, keywords = arguments_of(inputs)
    return network(*positional, **keywords)


def split(inputs: ModelInputs) -> tuple[tuple[Tensor, ...], TreeSpec, tuple[object, ...]]:
    """Take inputs apart: the tensors, the structure, and the constants, with None in the places of tensors."""
    leaves, structure = tree_flatten(inputs)
    tensors = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
    return tensors, structure, tuple(None if isinstance(leaf, Tensor) else _Constant(leaf) for leaf in leaves)


def join(tensors: tuple[Tensor, ...], structure: TreeSpec, constants: tuple[object, ...]) -> ModelInputs:
    """Put together what `split` took apart, with these tensors."""
    rest = iter(tensors)
    leaves = [constant.value if isinstance(constant, _Constant) else next(rest) for constant in constants]
    joined: ModelInputs = tree_unflatten(leaves, structure)
    return joined


def to_device(inputs: ModelInputs, device: torch.device) -> ModelInputs:
    """Move all tensors of inputs to a device."""
    tensors, structure, constants = split(inputs)
    return join(tuple(tensor.to(device) for tensor in tensors), structure, constants)


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network: that of its first tensor, or the CPU if it has none."""
    tensors = (*network.parameters(), *network.buffers())
    return tensors[0].device if tensors else torch.device("cpu")


class _Constant:
    """A leaf that is no tensor, such as a flag; equal constants are of equal type and value."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Constant) and type(self.value) is type(other.value) and bool(self.value == other.value)
        )

    __hash__ = None  # type: ignore[assignment] # values of any type
