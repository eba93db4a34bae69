"""Read the weights of a network in memory."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import JsonValue
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nern_core.contract.errors import NernError, quoted
from nern_core.formats.plain_values import NotPlainError, PlainValuesWriter
from nern_core.formats.tensor_claims import TORCH_ITEM_BYTES
from nern_core.tensors.checkpoint import Checkpoint


def checkpoint_of(network: nn.Module) -> Checkpoint:
    """Copy the state dict of a network: its tensors, the versions of its modules, and its extra states.

    Raises `NernError` (`no_tensors`, `unsupported_tensor`, `unsupported_format`).
    """
    state: Mapping[str, Any] = network.state_dict()
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise NernError("no_tensors", f"The network {type(network).__name__} has no weights.")
    writer = PlainValuesWriter()
    metadata = getattr(state, "_metadata", None)
    return Checkpoint(
        tensors={name: _plain(name, tensor) for name, tensor in tensors.items()},
        metadata=None if metadata is None else {name: _written(writer, name, of) for name, of in metadata.items()},
        extra_states={name: _written(writer, name, value) for name, value in state.items() if name not in tensors},
    )


def _plain(name: str, tensor: Tensor) -> Tensor:
    """Copy a tensor to the CPU, contiguous. Raises `NernError` (`unsupported_tensor`)."""
    if is_lazy(tensor):
        raise NernError(
            "unsupported_tensor", f"The tensor {quoted(name)} has no shape yet; call the network once before."
        )
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        kind = "without values" if tensor.is_meta else "quantized" if tensor.is_quantized else str(tensor.layout)
        raise NernError(
            "unsupported_tensor", f"The tensor {quoted(name)} is {kind}; only dense tensors can be encoded."
        )
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in TORCH_ITEM_BYTES:
        raise NernError(
            "unsupported_tensor", f"The tensor {quoted(name)} is {dtype}, which no file of weights can hold."
        )
    return tensor.detach().to("cpu", copy=True).resolve_conj().resolve_neg().contiguous()


def _written(writer: PlainValuesWriter, name: str, value: object) -> JsonValue:
    try:
        return writer.write(value)
    except NotPlainError as error:
        raise NernError(
            "unsupported_format",
            f"The state dict holds an object of the type {type(value).__name__} at {quoted(name)}, which cannot be "
            "stored; only tensors and plain values can.",
        ) from error
