"""Batches that a network fails for, or answers with values that are not finite, as errors that name the batch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten_with_path

from nern_core.contract.errors import NernError, quoted, reason_of
from nern_core.contract.system_errors import is_out_of_memory
from nern_core.networks.input_batch import InputBatch
from nern_core.networks.model_inputs import ModelInputs, split


@contextmanager
def failures_named(
    inputs: ModelInputs, batches: Sequence[InputBatch], beside: str = "", *, is_training: bool = False
) -> Iterator[None]:
    """Raise `NernError` (`bad_data`) for what a user's own network raises for these inputs, which are of a batch.

    `beside` ends the sentence. With `is_training`, the network fails when it is differentiated. Memory that runs out is
    no fault of the inputs.
    """
    try:
        yield
    except NernError:
        raise
    except Exception as error:  # the user's own network may raise anything
        if is_out_of_memory(error):
            raise
        does_not, advice = "does not accept", beside
        if is_training:
            does_not, advice = "cannot be trained with", "; omit the inputs to encode its weights as they are"
        raise NernError(
            "bad_data", f"The network {does_not} {name_of_batch(inputs, batches)}: {reason_of(error)}{advice}."
        ) from error


def refuse_not_finite(outputs: Tensor, inputs: ModelInputs, batches: Sequence[InputBatch]) -> None:
    """Raise `NernError` (`bad_data`) for outputs of the original that are not finite; the inputs are of a batch."""
    if bool(outputs.isfinite().all()):
        return
    batch = name_of_batch(inputs, batches)
    name = next(_not_finite(inputs), None)
    if name is not None:
        values = f"{quoted(name)} has values that" if name else "values"
        raise NernError("bad_data", f"In {batch}, {values} are not finite; replace them, or leave these examples out.")
    raise NernError(
        "bad_data",
        f"For {batch}, the original's outputs have values that are not finite; check the inputs and their scaling.",
    )


def name_of_batch(inputs: ModelInputs, batches: Sequence[InputBatch]) -> str:
    """Return words for the batch that has these inputs, or for all inputs if none is known to."""
    tensors, _, _ = split(inputs)
    number = next((batch.number for batch in batches if _are_equal(split(batch.inputs)[0], tensors)), None)
    return "the inputs" if number is None else f"batch {number} of the inputs"


def _are_equal(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    if [(of.shape, of.dtype) for of in first] != [(of.shape, of.dtype) for of in second]:
        return False
    return all(torch.allclose(one, other.cpu(), 0, 0, equal_nan=True) for one, other in zip(first, second, strict=True))


def _not_finite(inputs: ModelInputs) -> Iterator[str]:
    """Yield the names of the inputs with values that are not finite; empty for one without a name."""
    leaves: list[tuple[Any, Any]] = tree_flatten_with_path(inputs)[0]
    for path, leaf in leaves:
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and not bool(leaf.isfinite().all()):
            yield str(path[0].key) if path and isinstance(inputs, Mapping) else ""
