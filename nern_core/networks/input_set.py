"""Batches of inputs for any network, in memory, with labels if there are any."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from nern_core.contract.errors import NernError, reason_of
from nern_core.networks.detection.heads import is_detector
from nern_core.networks.detection.inputs import images_of
from nern_core.networks.model_inputs import ModelInputs, call, join, split, to_device
from nern_core.networks.outputs import OutputReader, reader_of

LABEL_KEYS: Final = ("labels", "label")
# Of all batches together; more are not read.
MOST_BYTES: Final = 2**30
_SHARE_HELD_OUT: Final = 0.1


@dataclass(frozen=True, slots=True)
class InputBatch:
    """The inputs of one call of a network; `labels` are the true classes, int64 (n,), if known.

    `count` is the number of examples if these are a list; otherwise, it is the first size of all tensors.
    """

    inputs: ModelInputs
    labels: Tensor | None = None
    count: int | None = None

    @property
    def examples(self) -> int:
        """Return the number of examples."""
        if self.count is not None:
            return self.count
        tensors, _, _ = split(self.inputs)
        return len(tensors[0]) if tensors and tensors[0].ndim else 1

    @property
    def bytes(self) -> int:
        """Return the bytes of all tensors."""
        return sum(tensor.nbytes for tensor in split(self.inputs)[0])


@dataclass(frozen=True, slots=True)
class InputSet:
    """Batches to train on, and others to measure on; `notes` are sentences on how they were read.

    `outputs` are the names of the outputs, or of modules, to compare; all outputs if there are none.
    """

    training: tuple[InputBatch, ...]
    held_out: tuple[InputBatch, ...]
    notes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @torch.no_grad()
    def reader(self, network: nn.Module) -> OutputReader:
        """Return the reader of the outputs of an original, in evaluation mode.

        Raises `NernError`: `bad_data` if the network does not accept the inputs, and as `reader_of` does.
        """
        device = next(network.parameters()).device
        inputs = to_device(self.training[0].inputs, device)
        try:
            return reader_of(network, lambda: call(network, inputs), self.outputs, inputs)
        except NernError:
            raise
        except Exception as error:  # the user's own network may raise anything
            raise NernError("bad_data", f"The network does not accept the inputs: {reason_of(error)}.") from error


def read_batches(inputs: Iterable[Any], network: nn.Module, outputs: Sequence[str] = ()) -> InputSet:
    """Read batches up to a gibibyte, and hold out a tenth of them.

    An item is a batch: a tensor, a tuple or list of positional arguments, or a dictionary of keyword arguments. The
    last argument, or the entry `labels`, holds the labels if the network does not take it. All batches must have the
    same structure. `outputs` are those of the result. Raises `NernError` (`bad_data`).
    """
    batches: list[InputBatch] = []
    notes: tuple[str, ...] = ()
    used = 0
    for item in inputs:
        batch = _detached(_batch_of(item, network))
        used += batch.bytes
        if batches and used > MOST_BYTES:
            notes = (f"Only the first {len(batches):,} batches of the inputs were used, which fill a gibibyte.",)
            break
        batches.append(batch)
    if not batches:
        raise NernError("bad_data", "There are no inputs; give at least one batch.")
    _refuse_other_structures(batches)
    return replace(_hold_out(batches, notes), outputs=tuple(outputs))


def _batch_of(item: object, network: nn.Module) -> InputBatch:
    if is_detector(network) and (images := images_of(item)) is not None:
        return InputBatch(images) if isinstance(images, Tensor) else InputBatch((images,), count=len(images))
    if isinstance(item, Mapping):
        entries = dict(item)
        label = next((key for key in LABEL_KEYS if key in entries), None)
        return InputBatch(entries) if label is None else InputBatch(entries, _labels(entries.pop(label)))
    if isinstance(item, (tuple, list)):
        arguments = tuple(item)
        if len(arguments) > 1 and not _accepts(network, arguments):
            return InputBatch(arguments[:-1], _labels(arguments[-1]))
        return InputBatch(arguments)
    if isinstance(item, Tensor):
        return InputBatch(item)
    raise NernError(
        "bad_data",
        f"The inputs are batches of the type {type(item).__name__}; give tensors, tuples or dictionaries of tensors, "
        "as the network takes them.",
    )


def _accepts(network: nn.Module, arguments: tuple[object, ...]) -> bool:
    """Return True if the network can be called with these positional arguments."""
    try:
        inspect.signature(network.forward).bind(*arguments)
    except TypeError:
        return False
    return True


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


def _hold_out(batches: list[InputBatch], notes: tuple[str, ...]) -> InputSet:
    """Hold out a tenth of the batches, spread over all, at least one; of a single batch, a tenth of its examples."""
    if len(batches) == 1:
        parts = _divided(batches[0])
        if parts is None:
            note = "The fidelity was measured on the inputs of the training, because there is only one."
            return InputSet(tuple(batches), tuple(batches), (*notes, note))
        return InputSet(parts[:1], parts[1:], notes)
    count = max(1, round(_SHARE_HELD_OUT * len(batches)))
    chosen = {(2 * number + 1) * len(batches) // (2 * count) for number in range(count)}
    held_out = tuple(batch for number, batch in enumerate(batches) if number in chosen)
    return InputSet(tuple(batch for number, batch in enumerate(batches) if number not in chosen), held_out, notes)


def _divided(batch: InputBatch) -> tuple[InputBatch, InputBatch] | None:
    """Divide a batch whose tensors all have one row for each example; None if that is not possible."""
    tensors, structure, constants = split(batch.inputs)
    rows = batch.examples
    if batch.count is not None or rows < 2 or any(not tensor.ndim or len(tensor) != rows for tensor in tensors):
        return None
    count = max(1, round(_SHARE_HELD_OUT * rows))

    def part(of: slice) -> InputBatch:
        return InputBatch(
            join(tuple(tensor[of] for tensor in tensors), structure, constants),
            None if batch.labels is None else batch.labels[of],
        )

    return part(slice(count, None)), part(slice(count))


def _detached(batch: InputBatch) -> InputBatch:
    """Return the batch on the CPU, without gradients."""
    tensors, structure, constants = split(batch.inputs)
    inputs = join(tuple(tensor.detach().cpu() for tensor in tensors), structure, constants)
    return replace(batch, inputs=inputs, labels=None if batch.labels is None else batch.labels.cpu())
