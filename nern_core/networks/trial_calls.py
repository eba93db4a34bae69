"""Trial calls of a network: what it takes, and tokens that it does not know."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from nern_core.contract.errors import NernError
from nern_core.networks.model_inputs import ModelInputs, call, to_device


def takes(network: nn.Module, arguments: tuple[object, ...]) -> bool:
    """Return True if the network can be called with these positional arguments.

    If its signature takes any number of them, the call is tried, also without the last argument.
    """
    inner = _unwrapped(network)
    signature = inspect.signature(inner.forward)
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    if not any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in signature.parameters.values()):
        return True
    return accepts(inner, arguments) or not accepts(inner, arguments[:-1])


@torch.no_grad()
def accepts(network: nn.Module, inputs: ModelInputs) -> bool:
    """Return True if the network can be called with the inputs. Its state and its modes stay unchanged."""
    device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
    inner = _unwrapped(network)
    training = [module for module in inner.modules() if module.training]
    inner.eval()
    try:
        call(inner, to_device(inputs, device))
    except Exception:  # noqa: BLE001 # the user's own network may raise anything
        return False
    finally:
        for module in training:
            module.training = True
    return True


@contextmanager
def checked_tokens(network: nn.Module) -> Iterator[None]:
    """Raise `NernError` (`bad_data`) while the context is open if an embedding is called with a token it lacks.

    On a GPU, the call itself would end the process.
    """
    embeddings = [module for module in network.modules() if isinstance(module, nn.Embedding)]
    handles = [module.register_forward_pre_hook(_check_tokens) for module in embeddings]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _check_tokens(embedding: nn.Embedding, arguments: tuple[Any, ...]) -> None:
    tokens = arguments[0] if arguments else None
    if not isinstance(tokens, Tensor) or not tokens.numel():
        return
    smallest, largest = (int(found) for found in tokens.aminmax())
    if smallest < 0 or largest >= embedding.num_embeddings:
        raise NernError(
            "bad_data",
            f"The inputs have the token {smallest if smallest < 0 else largest}, but the network embeds only "
            f"{embedding.num_embeddings:,}, from 0 to {embedding.num_embeddings - 1}.",
        )


def _unwrapped(network: nn.Module) -> nn.Module:
    """Return the network in wrappers that pass all arguments on, such as that of torch.compile."""
    while True:
        inner = network.module if isinstance(network, DataParallel | DistributedDataParallel) else None
        inner = getattr(network, "_orig_mod", inner)
        if not isinstance(inner, nn.Module):
            return network
        network = inner
