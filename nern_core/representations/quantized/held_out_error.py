"""The error of the outputs on batches that are held out from training: does training reduce it?

A network's own inputs may be few. Then a long training fits the outputs on these inputs, and others become worse.
"""

from collections.abc import Sequence
from typing import Final

import torch

from nern_core.networks.input_batch import InputBatch
from nern_core.networks.model_inputs import to_device
from nern_core.representations.quantized.parameters import QuantizedParameters
from nern_core.training.losses import squared_logit_error
from nern_core.training.student import Student
from nern_core.training.teacher import Teacher

# With fewer batches, every one is needed for training.
_FEWEST_BATCHES: Final = 8
_EVERY: Final = 8
_MOST_HELD_OUT: Final = 8


def split_batches(
    batches: Sequence[InputBatch],
) -> tuple[tuple[InputBatch, ...], tuple[InputBatch, ...]]:
    """Return the batches to train on, and those to hold out: every eighth one, but at most eight."""
    if len(batches) < _FEWEST_BATCHES:
        return tuple(batches), ()
    every = max(_EVERY, -(-len(batches) // _MOST_HELD_OUT))
    held_out = range(every - 1, len(batches), every)
    rest = tuple(batch for number, batch in enumerate(batches) if number not in held_out)
    return rest, tuple(batches[number] for number in held_out)


class HeldOutError:
    """Measures the mean squared error of the outputs with quantized weights, on held-out batches."""

    def __init__(self, teacher: Teacher, student: Student, batches: Sequence[InputBatch]) -> None:
        self._student = student
        self._batches = [to_device(batch.inputs, teacher.device) for batch in batches]
        self._expected = [teacher.logits(inputs) for inputs in self._batches]

    @torch.no_grad()
    def of(self, parameters: QuantizedParameters) -> float:
        """Return the error with these weights, in float32."""
        weights = parameters.weights()
        errors = [
            squared_logit_error(self._student.logits(weights, inputs), expected)
            for inputs, expected in zip(self._batches, self._expected, strict=True)
        ]
        return float(torch.stack(errors).mean())
