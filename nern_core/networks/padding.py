"""Padding of batches of sequences: the positions at which outputs are not compared."""

from collections.abc import Mapping
from typing import Final

from torch import Tensor

from nern_core.networks.model_inputs import ModelInputs

_MASK: Final = "attention_mask"
_DECODER: Final = "decoder_"
_ENCODER: Final = "encoder"
_AXES_OF_MASK: Final = 2
# The second axis of other outputs of two axes has classes or features, whose number may be that of the tokens.
_OF_TOKENS: Final = frozenset({"start_logits", "end_logits"})


def real_positions(name: str, output: Tensor, inputs: ModelInputs | None) -> Tensor | None:
    """Return where an output (n, t, ...) is no padding, bool (n, t), by transformers' `attention_mask` of the inputs.

    None if the inputs have no such mask, or the output has other first two axes. Outputs of a decoder with inputs of
    its own have the mask `decoder_attention_mask`.
    """
    if not isinstance(inputs, Mapping) or not _has_tokens(name, output):
        return None
    has_decoder = any(key.startswith(_DECODER) for key in inputs)
    is_decoded = has_decoder and not any(part.startswith(_ENCODER) for part in name.split("."))
    mask = inputs.get(f"{_DECODER}{_MASK}" if is_decoded else _MASK)
    if not isinstance(mask, Tensor) or mask.ndim != _AXES_OF_MASK or output.shape[:_AXES_OF_MASK] != mask.shape:
        return None
    return mask != 0


def without_padding(name: str, output: Tensor, inputs: ModelInputs | None) -> Tensor:
    """Return an output (n, t, ...) at its real positions alone, (1, positions, ...); others unchanged."""
    real = real_positions(name, output, inputs)
    return output if real is None else output[real][None]


def zero_padding(name: str, output: Tensor, inputs: ModelInputs | None) -> tuple[Tensor, Tensor | int]:
    """Return an output with zeros at padding, and the number of its other values, without waiting for a GPU."""
    real = real_positions(name, output, inputs)
    if real is None:
        return output, output.numel()
    values = real.sum() * (output.numel() // max(real.numel(), 1))
    return output.masked_fill(~real.view(*real.shape, *[1] * (output.ndim - real.ndim)), 0), values.clamp(min=1)


def _has_tokens(name: str, output: Tensor) -> bool:
    return output.ndim > _AXES_OF_MASK or name.rpartition(".")[2] in _OF_TOKENS
