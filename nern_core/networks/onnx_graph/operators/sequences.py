"""Sequences of tensors, which exporters use for the lists of a program."""

import torch
from torch import Tensor

from nern_core.networks.onnx_graph.operators.call import Call, integers, operator, together

_Sequence = list[Tensor]


@operator("SequenceEmpty")
def sequence_empty(call: Call) -> tuple[_Sequence]:
    return ([],)


@operator("SequenceConstruct")
def sequence_construct(call: Call, *tensors: Tensor) -> tuple[_Sequence]:
    return (list(tensors),)


@operator("SequenceInsert")
def sequence_insert(call: Call, sequence: _Sequence, tensor: Tensor, place: Tensor | None = None) -> tuple[_Sequence]:
    at = len(sequence) if place is None else int(place)
    at += len(sequence) if at < 0 else 0
    return ([*sequence[:at], tensor, *sequence[at:]],)


@operator("SequenceErase")
def sequence_erase(call: Call, sequence: _Sequence, place: Tensor | None = None) -> tuple[_Sequence]:
    at = (-1 if place is None else int(place)) % len(sequence)
    return ([*sequence[:at], *sequence[at + 1 :]],)


@operator("SequenceAt")
def sequence_at(call: Call, sequence: _Sequence, place: Tensor) -> Tensor:
    return sequence[int(place)]


@operator("SequenceLength")
def sequence_length(call: Call, sequence: _Sequence) -> Tensor:
    return torch.tensor(len(sequence))


@operator("ConcatFromSequence")
def concat_from_sequence(call: Call, sequence: _Sequence) -> Tensor:
    join = torch.stack if call.get("new_axis", 0) else torch.cat
    return join(together(*sequence), dim=call.get("axis"))


@operator("SplitToSequence")
def split_to_sequence(call: Call, x: Tensor, sizes: Tensor | None = None) -> tuple[_Sequence]:
    axis = call.get("axis", 0)
    if sizes is None:
        parts = list(x.split(1, dim=axis))
        return (parts if call.get("keepdims", 1) else [part.squeeze(axis) for part in parts],)
    given = integers(sizes)
    return (list(x.split(given if sizes.ndim else given[0], dim=axis)),)
