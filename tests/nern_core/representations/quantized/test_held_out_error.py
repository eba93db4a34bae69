"""Training that does not reduce the error on held-out batches is undone."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from nern_core.networks.input_batch import InputBatch
from nern_core.recipes.fast import FAST
from nern_core.representations.quantized.for_size import TrainedWeights, quantize_for_rate
from nern_core.representations.quantized.held_out_error import split_batches
from nern_core.representations.quantized.quantizer import Quantizer
from nern_core.representations.quantized.trainer import TrainingInputs
from nern_core.tensors.kernels import select_layers
from nern_core.training.clock import Budget
from nern_core.training.input_source import StoredBatches
from nern_core.training.snapshots import Snapshots
from nern_core.training.teacher import Teacher


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 16)).eval()


def batches(count: int) -> tuple[InputBatch, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(InputBatch(torch.randn(16, 32, generator=generator), number=n + 1) for n in range(count))


def trained(learning_rate: float, held_out: tuple[InputBatch, ...]) -> tuple[TrainedWeights, Quantizer]:
    """Train for 40 steps at 1.5 bits per weight."""
    teacher = Teacher(network=network(), batches=batches(8))
    tensors = teacher.network.state_dict()
    quantizer = Quantizer(tensors, select_layers(tensors, ("all",)), teacher.network, has_inputs=True)
    training = TrainingInputs(
        config=replace(FAST.quantization, learning_rate=learning_rate),
        teacher=teacher,
        images=StoredBatches(teacher.batches, torch.Generator().manual_seed(0), teacher.device),
        budget=Budget(steps=40),
        on_step=lambda stage, step: None,
        snapshots=Snapshots(),
        held_out=held_out,
    )
    return quantize_for_rate(quantizer, quantizer.plan(), 1.5, training), quantizer


@pytest.mark.parametrize(
    ("count", "held_out"), [(1, []), (7, []), (8, [8]), (20, [8, 16]), (100, [*range(13, 92, 13)])]
)
def test_every_eighth_batch_is_held_out_but_at_most_eight_and_none_of_a_few(count: int, held_out: list[int]) -> None:
    rest, held = split_batches(batches(count))
    assert [batch.number for batch in held] == held_out
    assert [batch.number for batch in rest] == [n for n in range(1, count + 1) if n not in held_out]


def test_training_that_increases_the_held_out_error_is_undone() -> None:
    found, quantizer = trained(5.0, batches(9)[8:])
    start = quantizer.rounded(quantizer.start(quantizer.plan(), 1.5 * quantizer.weights))
    assert not found.has_improved
    assert [layer.integers.tolist() for layer in found.quantized.layers] == [
        layer.integers.tolist() for layer in start.layers
    ]


def test_training_that_reduces_the_held_out_error_is_kept() -> None:
    found, quantizer = trained(0.02, batches(9)[8:])
    start = quantizer.rounded(quantizer.start(quantizer.plan(), 1.5 * quantizer.weights))
    assert found.has_improved
    assert any(
        (after.integers != before.integers).any()
        for after, before in zip(found.quantized.layers, start.layers, strict=True)
    )


def test_without_held_out_batches_training_is_kept() -> None:
    found, _ = trained(5.0, ())
    assert found.has_improved
