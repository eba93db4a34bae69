"""Images without labels, and images for networks that are no classifiers, as batches of inputs."""

from pathlib import Path
from typing import Final

import numpy as np
import torch

from nern_core.formats.dataset_structure import SPLITS
from nern_core.networks.architecture import Preprocessing
from nern_core.networks.datasets import read_pixels, to_inputs
from nern_core.networks.image_files import Pixels
from nern_core.networks.input_batch import InputBatch
from nern_core.networks.input_set import MOST_BYTES, InputSet

_IMAGES_PER_BATCH: Final = 32
# As many as the activations of a large network allow.
_PIXELS_PER_BATCH: Final = 2**19
_BYTES_OF_INPUT: Final = 4
_ORDER_SEED: Final = 1


def read_image_inputs(dataset: Path, preprocessing: Preprocessing, examples: int | None = None) -> InputSet:
    """Read the training images as batches to train on, and the test images as batches to measure on.

    With `examples`, all batches have as many, and the rest is left out. Each split may take half a gibibyte as inputs;
    an even sample of more images is used. Raises `NernError` as `read_pixels` does.
    """
    train, test = (read_pixels(dataset, split, preprocessing, MOST_BYTES // 2 // _BYTES_OF_INPUT) for split in SPLITS)
    is_labelled = train.labels is not None and test.labels is not None
    notes = dict.fromkeys([*train.notes, *test.notes])
    return InputSet(
        _batches(train, preprocessing, examples, is_labelled=is_labelled),
        _batches(test, preprocessing, examples, is_labelled=is_labelled),
        tuple(notes),
    )


def _batches(
    pixels: Pixels, preprocessing: Preprocessing, examples: int | None, *, is_labelled: bool
) -> tuple[InputBatch, ...]:
    """Make batches in a random order, always the same."""
    count = examples or max(1, min(_IMAGES_PER_BATCH, _PIXELS_PER_BATCH // preprocessing.input_size**2))
    most = max(1, MOST_BYTES // 2 // (3 * preprocessing.input_size**2 * _BYTES_OF_INPUT))
    order = torch.from_numpy(np.random.default_rng(_ORDER_SEED).permutation(len(pixels.images)))[:most]
    return tuple(
        InputBatch(
            to_inputs(pixels.images[rows], preprocessing),
            pixels.labels[rows] if is_labelled and pixels.labels is not None else None,
        )
        for rows in order.split(count)
        if examples is None or len(rows) == examples
    )
