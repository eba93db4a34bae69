"""Outputs of any network: tensors, tuples, dictionaries and dataclasses, read as named floating-point tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final

import torch
from torch import Tensor

from nern_core.contract.errors import NernError, quoted

# What language models return for their next call, and the loss of given labels, are no answers.
_NO_ANSWERS: Final = ("past_key_values", "loss")
_ONLY: Final = "output"


def named_outputs(outputs: object) -> dict[str, Tensor]:
    """Return the floating-point tensors with values, by name: `logits`, `0`, `boxes.1`; a lone tensor is `output`."""
    found = {name: tensor for name, tensor in _tensors(outputs, "") if tensor.is_floating_point() and tensor.numel()}
    return {name or _ONLY: tensor for name, tensor in found.items()}


def _tensors(value: object, name: str) -> list[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        return [(name, value)]
    parts: Sequence[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, (list, tuple)):
        names = getattr(value, "_fields", range(len(value)))
        parts = list(zip(names, value, strict=True))
    elif is_dataclass(value):
        parts = [(part.name, getattr(value, part.name)) for part in fields(value)]
    return [
        found
        for key, part in parts
        if str(key) not in _NO_ANSWERS
        for found in _tensors(part, f"{name}.{key}" if name else str(key))
    ]


@dataclass(frozen=True, slots=True)
class OutputReader:
    """Reads a network's outputs as one tensor that two networks are compared by.

    Without `names`, the network returns logits (n, classes). With `scales`, which are the root mean squares of the
    original's outputs, each output is divided by its own, and all are joined so that each one counts the same: the mean
    squared difference of two results is then the mean over the outputs of their squared relative errors.
    """

    names: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()

    def __call__(self, outputs: object) -> Tensor:
        """Return float32: logits (n, classes), or all values of the joined outputs (1, values)."""
        if not self.names:
            assert isinstance(outputs, Tensor)
            return outputs.float()
        found = named_outputs(outputs)
        if not self.scales:
            return found[self.names[0]].float()
        used = {name: scale for name, scale in zip(self.names, self.scales, strict=True) if name in found}
        values = sum(found[name].numel() for name in used)
        parts = [
            found[name].float().flatten() * ((values / (len(used) * found[name].numel())) ** 0.5 / scale)
            for name, scale in used.items()
        ]
        return torch.cat(parts)[None]


LOGITS: Final = OutputReader()


def reader_of(outputs: object, wanted: Sequence[str] = ()) -> OutputReader:
    """Return the reader for the outputs of an original; `wanted` are the names of those to compare, default: all.

    Raises `NernError` (`no_outputs`, `unknown_output`).
    """
    found = named_outputs(outputs)
    if not found:
        raise NernError("no_outputs", "The network returns no floating-point tensor that could be compared.")
    for name in wanted:
        if name not in found:
            raise NernError(
                "unknown_output",
                f"The network has no output {quoted(name)}; it returns {', '.join(map(quoted, found))}.",
            )
    names = tuple(wanted) or tuple(found)
    if len(names) == 1 and found[names[0]].ndim == 2:
        return OutputReader(names)
    return OutputReader(names, tuple(_scale(found[name]) for name in names))


def _scale(tensor: Tensor) -> float:
    """Return the root mean square; 1 for zeros."""
    return float(tensor.double().square().mean().sqrt()) or 1.0
