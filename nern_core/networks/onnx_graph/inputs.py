"""Batches of a data set of arrays for an ONNX network.

The arrays have one row for each example, whatever the graph does with its axes: a state (2, batch, 128) is an array
(examples, 2, 128). An input without axes has the same value in all rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from nern_core.contract.errors import NernError, quoted
from nern_core.formats.array_names import INPUTS, LABELS
from nern_core.formats.text_files import has_text
from nern_core.networks.architecture import UNCHANGED
from nern_core.networks.arrays import EXAMPLES_PER_BATCH, array_batches, has_arrays
from nern_core.networks.datasets import dataset_preprocessing, preprocessing_notes
from nern_core.networks.image_inputs import read_image_inputs
from nern_core.networks.input_evaluator import InputEvaluator
from nern_core.networks.input_set import InputSet, read_batches
from nern_core.networks.onnx_graph.graph import Input
from nern_core.networks.onnx_graph.network import OnnxNetwork, build_onnx_network

_EXAMPLES_OF_CHECK = 2
_LARGEST_DIFFERENCE = 1e-3


def read_onnx_inputs(dataset: Path, network: OnnxNetwork, outputs: Sequence[str] = ()) -> InputSet:
    """Read arrays, or images if the network has one input for them. Raises `NernError` as `onnx_batches` does."""
    images = None if has_arrays(dataset) or has_text(dataset) else _input_for_images(network.graph_inputs)
    if images is None:
        return read_batches(onnx_batches(dataset, network), network, outputs)
    count, size = images
    default = replace(UNCHANGED, input_size=size)
    preprocessing = dataset_preprocessing(dataset, default)
    if preprocessing.input_size != size:
        raise NernError(
            "bad_data",
            f"The dataset sets an `input_size` of {preprocessing.input_size}; the ONNX network takes {size}.",
        )
    pair = {
        network.graph_inputs[0].name: torch.rand(
            _EXAMPLES_OF_CHECK, 3, size, size, generator=torch.Generator().manual_seed(0)
        )
    }
    if count == 1 and _takes_more(network, pair, dict.fromkeys(pair, 0)):
        count = None
    read = read_image_inputs(dataset, preprocessing, count)
    if not read.training or not read.held_out:
        raise NernError(
            "bad_data", f"The ONNX network takes {count} images at once, and the data set has fewer; add some."
        )
    notes = preprocessing_notes(replace(default, input_size=0), preprocessing)
    return replace(read, outputs=tuple(outputs), notes=(*read.notes, *notes))


def _input_for_images(inputs: tuple[Input, ...]) -> tuple[int | None, int] | None:
    """Return the number of images that a network takes at once, None for any, and their size; None for other inputs."""
    if len(inputs) != 1 or not inputs[0].is_floating_point or inputs[0].shape is None:
        return None
    match inputs[0].shape:
        case (count, 3, int(height), int(width)) if height == width:
            return count, height
    return None


def onnx_batches(dataset: Path, network: OnnxNetwork) -> Iterator[dict[str, Tensor]]:
    """Read a file of arrays and yield batches as the network takes them, by name, with `labels` if there are any.

    Exporters often fix the number of examples at one although the graph takes more; whether it does is tried. Raises
    `NernError` (`bad_data`).
    """
    inputs = network.graph_inputs
    if not has_arrays(dataset):
        named = ", ".join(f"`{INPUTS}.{of.name}`" for of in inputs)
        raise NernError(
            "bad_data",
            f"This ONNX network takes a data set of arrays: an .npz or safetensors file with {named}. Images need one "
            "input of the shape N x 3 x S x S with a known S.",
        )
    first = _named(next(array_batches(dataset, _EXAMPLES_OF_CHECK)), inputs)
    axes = {of.name: _axis_of_examples(of, first[of.name]) for of in inputs}
    fixed = {size for of in inputs if (size := _fixed_size(of, axes[of.name])) is not None}
    if len(fixed) > 1:
        raise NernError("bad_data", "The inputs of the ONNX network have different numbers of examples.")
    size = fixed.pop() if fixed else None
    if size == 1 and _takes_more(network, first, axes):
        size = None
    is_enough = False
    for batch in array_batches(dataset, size or EXAMPLES_PER_BATCH):
        named_batch = _named(batch, inputs)
        if size is None or len(next(iter(named_batch.values()))) == size:
            is_enough = True
            yield _arranged(named_batch, axes)
    if not is_enough:
        raise NernError(
            "bad_data",
            f"The ONNX network takes {size:,} examples at once, and the data set has fewer; add some, or export the "
            "network with a free number of examples.",
        )


def open_onnx_evaluator(
    graph: bytes, tensors: Mapping[str, Tensor], dataset: Path, outputs: Sequence[str], device: torch.device
) -> InputEvaluator:
    """Open the held-out inputs of a data set for the network of a graph. Raises `NernError` as `onnx_batches` does."""
    network = build_onnx_network(graph, tensors)
    inputs = read_onnx_inputs(dataset, network, outputs)
    return InputEvaluator(network=network, inputs=inputs, device=device)


def _named(batch: Mapping[str, Tensor] | tuple[Tensor, ...], inputs: tuple[Input, ...]) -> dict[str, Tensor]:
    """Return a batch by the names of the graph. Raises `NernError` (`bad_data`) for other names."""
    names = [of.name for of in inputs]
    if isinstance(batch, tuple):
        if len(names) != 1:
            raise NernError(
                "bad_data",
                f"The ONNX network takes {len(names)} inputs; name the arrays "
                f"{', '.join(f'`{INPUTS}.{name}`' for name in names)}.",
            )
        return dict(zip((names[0], LABELS), batch, strict=False))
    for name in names:
        if name not in batch:
            raise NernError("bad_data", f"The data set has no array `{INPUTS}.{name}`, which the ONNX network takes.")
    for name in batch:
        if name not in names and name != LABELS:
            raise NernError(
                "bad_data",
                f"The ONNX network takes no input {quoted(name)}; its inputs are {', '.join(map(quoted, names))}.",
            )
    return dict(batch)


def _axis_of_examples(of: Input, array: Tensor) -> int | None:
    """Return the axis of the graph's input along which examples lie; None for an input without axes.

    It is the only free one, or the first one whose omission leaves the shape of an example.
    """
    if of.shape is None:
        return 0
    if not of.shape:
        return None
    free = [axis for axis, size in enumerate(of.shape) if size is None]
    order = free if len(free) == 1 else range(len(of.shape))
    example = tuple(array.shape[1:])
    for axis in order:
        rest = of.shape[:axis] + of.shape[axis + 1 :]
        if len(rest) == len(example) and all(size in {None, found} for size, found in zip(rest, example, strict=True)):
            return axis
    shown = ", ".join("any" if size is None else str(size) for size in of.shape)
    raise NernError(
        "bad_data",
        f"Each row of {quoted(of.name)} has the shape {example}, which does not fit the input ({shown}) of the ONNX "
        "network; give one row for each example.",
    )


def _fixed_size(of: Input, axis: int | None) -> int | None:
    return None if axis is None or not of.shape else of.shape[axis]


def _arranged(batch: Mapping[str, Tensor], axes: Mapping[str, int | None]) -> dict[str, Tensor]:
    """Move the examples of each input to their axis. Raises `NernError` (`bad_data`)."""
    arranged = dict(batch)
    for name, axis in axes.items():
        values = batch[name]
        if axis is not None:
            arranged[name] = values.movedim(0, axis).contiguous()
            continue
        if not bool((values == values[0]).all()):
            raise NernError(
                "bad_data",
                f"The input {quoted(name)} of the ONNX network is a single value; give the same one in all rows.",
            )
        arranged[name] = values[0].reshape(())
    return arranged


@torch.no_grad()
def _takes_more(network: OnnxNetwork, batch: Mapping[str, Tensor], axes: Mapping[str, int | None]) -> bool:
    """Return True if a network answers two examples at once as it answers each of them alone."""
    given = {name: tensor for name, tensor in batch.items() if name in axes}
    singles = [{name: tensor[row : row + 1] for name, tensor in given.items()} for row in range(_EXAMPLES_OF_CHECK)]
    if any(not len(tensor) for tensor in singles[-1].values()):
        return False
    try:
        together = network(**_arranged(given, axes))
        alone = [network(**_arranged(single, axes)) for single in singles]
        return all(
            any(_is_close(tensor, torch.cat([of[name] for of in alone], dim=axis)) for axis in range(tensor.ndim))
            for name, tensor in together.items()
        )
    except Exception:  # noqa: BLE001 # the graph is a stranger's
        return False


def _is_close(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape:
        return False
    difference = float((first.double() - second.double()).norm())
    return difference <= _LARGEST_DIFFERENCE * float(second.double().norm())
