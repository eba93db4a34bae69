"""Tensors that a network has under several names, such as the embedding of a language model and its last layer."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def shared_names(network: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the names of each shared tensor by each of its names."""
    # The parameters themselves, because only these are the same object under each name.
    by_tensor: dict[int, list[str]] = defaultdict(list)
    state: Mapping[str, Any] = network.state_dict(keep_vars=True)
    for name, value in state.items():
        if isinstance(value, Tensor):
            by_tensor[id(value)].append(name)
    return {name: tuple(names) for names in by_tensor.values() if len(names) > 1 for name in names}


def with_shared(tensors: Mapping[str, Tensor], shared: Mapping[str, tuple[str, ...]]) -> dict[str, Tensor]:
    """Add the other names of shared tensors that are given under one of them."""
    added = {
        other: tensor for name, tensor in tensors.items() for other in shared.get(name, ()) if other not in tensors
    }
    return {**tensors, **added}
