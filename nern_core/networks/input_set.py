"""Batches of inputs for any network, in memory, with labels if there are any."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.data import Dataset, IterableDataset

from nern_core.contract.errors import NernError, quoted
from nern_core.networks.detection.heads import is_detector
from nern_core.networks.detection.inputs import images_of
from nern_core.networks.extreme_batches import extreme_batches
from nern_core.networks.failed_batches import failures_named, refuse_not_finite
from nern_core.networks.input_batch import InputBatch
from nern_core.networks.labels import refuse_labels
from nern_core.networks.model_inputs import call, device_of, join, split, to_device
from nern_core.networks.outputs import OutputReader, name_of_logits, named_outputs, reader_of
from nern_core.networks.trial_calls import accepts, checked_tokens, takes

LABEL_KEYS: Final = ("labels", "label")
# Of all batches together; more are not read.
MOST_BYTES: Final = 2**30
_SHARE_HELD_OUT: Final = 0.1
# A tenth of fewer batches is no whole one.
_FEWEST_WHOLE: Final = 10
_AXES_OF_LOGITS: Final = 2


@dataclass(frozen=True, slots=True)
class InputSet:
    """Batches to train on, and others to measure on; `notes` are sentences on how they were read.

    `outputs` are the names of the outputs, or of modules, to compare; all outputs if there are none.
    """

    training: tuple[InputBatch, ...]
    held_out: tuple[InputBatch, ...]
    notes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def is_held_out(self) -> bool:
        """Return False if the inputs to measure on are those to train on."""
        return self.held_out is not self.training

    @torch.no_grad()
    def reader(self, network: nn.Module) -> OutputReader:
        """Return the reader of the outputs of an original, in evaluation mode.

        Raises `NernError`: `bad_data` if the network does not accept the first batch or one with extreme values, or if
        the outputs are not finite, and as `reader_of` does.
        """
        device = device_of(network)
        first, batches = self.training[0], (*self.training, *self.held_out)
        outputs: list[object] = []
        inputs = to_device(first.inputs, device)

        def run() -> object:
            outputs.append(call(network, inputs))
            return outputs[-1]

        with checked_tokens(network):
            with failures_named(inputs, (), _types_beside(network, first)):
                reader = reader_of(network, run, self.outputs, inputs)
            for batch in extreme_batches(batches):
                if batch is not first:
                    later = to_device(batch.inputs, device)
                    with failures_named(later, batches):
                        read = reader.read(network, partial(call, network, later), later)
                    refuse_not_finite(read, later, batches)
        self._refuse_labels(named_outputs(outputs[0]))
        return reader

    def _refuse_labels(self, outputs: Mapping[str, Tensor]) -> None:
        """Raise `NernError` (`bad_data`) for labels that the outputs of the first batch have no class for."""
        name = name_of_logits(outputs)
        if name is None or outputs[name].ndim != _AXES_OF_LOGITS:
            return
        for batch in (*self.training, *self.held_out):
            if batch.labels is not None:
                refuse_labels(batch.labels, outputs[name].shape[-1])


def read_batches(inputs: Iterable[Any], network: nn.Module, outputs: Sequence[str] = ()) -> InputSet:
    """Read batches up to a gibibyte, and hold out a tenth of them.

    An item is a batch: a tensor, a tuple or list of positional arguments, or a dictionary of keyword arguments. The
    last argument, or the entry `labels`, holds the labels if the network does not take it. NumPy arrays become tensors,
    floating-point ones of the network's type. All batches must have the same structure. `outputs` are those of the
    result. Raises `NernError` (`bad_data`).
    """
    _refuse_other_inputs(inputs)
    _refuse_scripted(network)
    dtype = floating_type(network)
    batches: list[InputBatch] = []
    notes: tuple[str, ...] = ()
    used = 0
    for item in inputs:
        batch = replace(_detached(_batch_of(_with_tensors(item, dtype), network)), number=len(batches) + 1)
        if not split(batch.inputs)[0]:
            raise NernError("bad_data", f"Batch {len(batches) + 1} of the inputs has no tensor or array.")
        if any(tensor.layout is not torch.strided for tensor in split(batch.inputs)[0]):
            raise NernError("bad_data", f"Batch {len(batches) + 1} of the inputs has a sparse tensor; give dense ones.")
        used += batch.bytes
        if batches and used > MOST_BYTES:
            notes = (f"Only the first {len(batches):,} batches of the inputs were used, which fill a gibibyte.",)
            break
        batches.append(batch)
    if not batches:
        raise NernError("bad_data", "There are no inputs; give at least one batch.")
    _refuse_other_structures(batches)
    return replace(_hold_out(batches, notes, network), outputs=tuple(outputs))


def floating_type(network: nn.Module) -> torch.dtype:
    """Return the type of the network's floating-point weights."""
    return next((of.dtype for of in network.parameters() if of.is_floating_point()), torch.float32)


def _types_beside(network: nn.Module, batch: InputBatch) -> str:
    """Name the types of the inputs and of the weights, as the end of a sentence; empty if these are equal."""
    weights = floating_type(network)
    types = {tensor.dtype for tensor in split(batch.inputs)[0]}
    if types <= {weights}:
        return ""
    given = ", ".join(sorted(str(of).removeprefix("torch.") for of in types))
    return f"; the inputs have the type {given}, the weights {str(weights).removeprefix('torch.')}"


def _refuse_scripted(network: nn.Module) -> None:
    """Raise `NernError` (`unsupported_network`) for a network that cannot compute with other weights."""
    if isinstance(network, torch.jit.ScriptModule):
        raise NernError(
            "unsupported_network",
            "A TorchScript network cannot compute with other weights; give the original module, or omit the inputs.",
        )


def _refuse_other_inputs(inputs: object) -> None:
    """Raise `NernError` (`bad_data`) for what is no iterable of batches."""
    if not isinstance(inputs, Iterable) and not hasattr(inputs, "__getitem__"):
        raise NernError(
            "bad_data", f"The inputs are one object of the type {type(inputs).__name__}; give a list of batches."
        )
    if isinstance(inputs, Dataset) and not isinstance(inputs, IterableDataset):
        raise NernError(
            "bad_data",
            f"The inputs are a {type(inputs).__name__} of single examples; give batches: torch.utils.data.DataLoader("
            "dataset, batch_size=32).",
        )


def _with_tensors(item: object, dtype: torch.dtype) -> object:
    """Return an item with tensors in the places of NumPy arrays. Raises `NernError` (`bad_data`)."""

    def converted(leaf: object) -> object:
        if not isinstance(leaf, np.ndarray):
            return leaf
        try:
            # A copy, because torch refuses negative strides and warns of memory that cannot be written.
            tensor = torch.from_numpy(np.array(leaf))
        except TypeError as error:
            raise NernError(
                "bad_data", f"The inputs have an array of the type {quoted(str(leaf.dtype))}; give numbers."
            ) from error
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    converted_item: object = tree_map(converted, item)
    return converted_item


def _batch_of(item: object, network: nn.Module) -> InputBatch:
    if is_detector(network) and (images := images_of(item)) is not None:
        return InputBatch(images) if isinstance(images, Tensor) else InputBatch((images,), count=len(images))
    if isinstance(item, Mapping):
        entries = dict(item)
        label = next((key for key in LABEL_KEYS if key in entries), None)
        return InputBatch(entries) if label is None else InputBatch(entries, _labels(entries.pop(label)))
    if isinstance(item, (tuple, list)):
        arguments = tuple(item)
        if len(arguments) > 1 and not takes(network, arguments):
            return InputBatch(arguments[:-1], _labels(arguments[-1]))
        return InputBatch(arguments)
    if isinstance(item, Tensor):
        return InputBatch(item)
    raise NernError(
        "bad_data",
        f"The inputs are batches of the type {type(item).__name__}; give tensors, tuples or dictionaries of tensors, "
        "as the network takes them.",
    )


def _labels(value: object) -> Tensor | None:
    """Return labels if they are one class for each example; others cannot be used."""
    if isinstance(value, Tensor) and value.ndim == 1 and not value.is_floating_point() and not value.is_complex():
        return value.long()
    return None


def _refuse_other_structures(batches: Iterable[InputBatch]) -> None:
    """Raise `NernError` (`bad_data`) unless all batches have the structure and the constants of the first."""
    first, *others = ((structure, constants) for _, structure, constants in (split(b.inputs) for b in batches))
    for number, other in enumerate(others, 2):
        if other != first:
            raise NernError(
                "bad_data",
                f"Batch {number} of the inputs has another structure than the first; all batches must hold the same "
                "arguments, with tensors in the same places.",
            )


def _hold_out(batches: list[InputBatch], notes: tuple[str, ...], network: nn.Module) -> InputSet:
    """Hold out a tenth of the batches, spread over all; of fewer than ten, a tenth of the examples, from one of them.

    Batches that cannot be divided are held out whole.
    """
    if len(batches) < _FEWEST_WHOLE:
        middle = len(batches) // 2
        count = max(1, round(_SHARE_HELD_OUT * sum(batch.examples for batch in batches)))
        parts = _divided(batches[middle], count, network)
        if parts is not None:
            return InputSet((*batches[:middle], parts[0], *batches[middle + 1 :]), parts[1:], notes)
        if len(batches) == 1:
            note = "The fidelity was measured on the inputs of the training, because there is only one."
            training = tuple(batches)
            return InputSet(training, training, (*notes, note))
    count = max(1, round(_SHARE_HELD_OUT * len(batches)))
    chosen = {(2 * number + 1) * len(batches) // (2 * count) for number in range(count)}
    held_out = tuple(batch for number, batch in enumerate(batches) if number in chosen)
    return InputSet(tuple(batch for number, batch in enumerate(batches) if number not in chosen), held_out, notes)


def _divided(batch: InputBatch, count: int, network: nn.Module) -> tuple[InputBatch, InputBatch] | None:
    """Divide off `count` examples of a batch whose tensors all have one row for each example.

    None if that is not possible, or if the network does not take so few.
    """
    tensors, structure, constants = split(batch.inputs)
    rows = batch.examples
    if batch.count is not None or rows <= count or any(not tensor.ndim or len(tensor) != rows for tensor in tensors):
        return None

    def part(of: slice) -> InputBatch:
        inputs = join(tuple(tensor[of] for tensor in tensors), structure, constants)
        return replace(batch, inputs=inputs, labels=None if batch.labels is None else batch.labels[of])

    rest, held_out = part(slice(count, None)), part(slice(count))
    return (rest, held_out) if accepts(network, held_out.inputs) else None


def _detached(batch: InputBatch) -> InputBatch:
    """Return the batch on the CPU, without gradients."""
    tensors, structure, constants = split(batch.inputs)
    inputs = join(tuple(tensor.detach().cpu() for tensor in tensors), structure, constants)
    return replace(batch, inputs=inputs, labels=None if batch.labels is None else batch.labels.cpu())
