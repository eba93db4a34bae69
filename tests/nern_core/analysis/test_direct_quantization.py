import math
from pathlib import Path

import pytest
import torch
from torch import nn

from nern_core.analysis.baselines import Alternative
from nern_core.analysis.comparison import open_comparison
from nern_core.analysis.direct_quantization import levels_for, quantize_as_small, quantize_directly
from nern_core.analysis.meta_compression.operations import entropy_bits
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from nern_core.contract.progress import Progress
from nern_core.encoder import encode
from nern_core.networks import build_network, find_architecture
from nern_core.networks.datasets import read_image_set
from nern_core.networks.evaluate import open_evaluator
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.training.clock import Budget
from nern_core.training.teacher import Teacher
from tests.conftest import DIGITS, EXAMPLE
from tests.nern_core.digits_teacher import digits_teacher, images_of

ORIGINAL = read_checkpoint(EXAMPLE).tensors


def quantized(levels: int, steps: int) -> Alternative:
    teacher = digits_teacher()
    return quantize_directly(teacher, images_of(teacher), levels, Budget(steps=steps))


def accuracy(alternative: Alternative) -> float:
    return open_evaluator("digits-cnn", DIGITS).accuracy(alternative.tensors)


def test_every_channel_has_at_most_so_many_values() -> None:
    tensors = quantized(4, 2).tensors
    for name in ("features.0.weight", "features.3.weight", "features.7.weight", "classifier.weight"):
        assert max(len(channel.unique()) for channel in tensors[name]) == 4


def test_kernels_of_one_value_may_lie_in_memory_in_any_order() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)).to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's own way
    assert levels_for(network, 10_000) == 256


def test_everything_else_is_kept_in_half_precision() -> None:
    tensors = quantized(4, 2).tensors
    assert tensors.keys() == ORIGINAL.keys()
    for name in ("features.1.weight", "features.1.running_var", "classifier.bias"):
        assert torch.equal(tensors[name], ORIGINAL[name].half().float())
    assert torch.equal(tensors["features.1.num_batches_tracked"], ORIGINAL["features.1.num_batches_tracked"])


def test_the_bytes_are_the_entropy_of_the_integers_and_two_for_every_other_number() -> None:
    result = quantized(4, 2)
    bits = 0.0
    for name, tensor in result.tensors.items():
        if name.endswith("weight") and tensor.ndim > 1:
            # Each channel's step is the smallest difference of its values.
            rows = tensor.flatten(1)
            steps = torch.stack([row.unique().diff().min() for row in rows])
            bits += entropy_bits((rows / steps[:, None]).round()) + 16 * len(rows)
        elif tensor.is_floating_point():
            bits += 16 * tensor.numel()
    assert result.bytes == math.ceil(bits / 8)


@pytest.mark.slow
def test_training_gives_back_what_rounding_to_three_levels_costs() -> None:
    before, after = quantized(3, 1), quantized(3, 120)
    assert accuracy(after) > 98.0
    assert accuracy(after) > accuracy(before)


def test_the_levels_are_the_most_that_fit() -> None:
    network = build_network(find_architecture("digits-cnn"), ORIGINAL)
    levels = levels_for(network, 20_000)
    sizes = [quantized(count, 1).bytes for count in (levels, levels + 1)]
    # One step of training changes the integers a little.
    assert sizes[0] < 20_000 * 1.01
    assert sizes[1] > 20_000 * 0.99
    assert (levels_for(network, 1), levels_for(network, 10**9)) == (3, 256)


def test_an_encoding_gets_a_rival_of_its_size(tmp_path: Path) -> None:
    path = tmp_path / "x.nern"
    options = EncodeOptions(architecture="digits-cnn", dataset=str(DIGITS), target_bytes=20_000, steps=2)
    encode(EXAMPLE, path, options)
    told: list[Progress] = []
    rival = quantize_as_small(open_comparison(EXAMPLE, path), dataset=DIGITS, seconds=1.5, on_progress=told.append)
    assert rival.name == "direct quantization"
    assert rival.bytes == pytest.approx(path.stat().st_size, rel=0.15)
    assert rival.seconds == pytest.approx(1.5, abs=0.5)
    assert {progress.phase for progress in told} == {"comparison"}
    assert told[-1].fraction == 1.0


def test_weights_that_layers_share_stay_shared() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(16, 16)
            self.second = self.first

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(inputs.flatten(1)[:, :16]).relu())  # type: ignore[no-any-return]

    torch.manual_seed(0)
    network = Shared().requires_grad_(requires_grad=False)
    preprocessing = find_architecture("digits-cnn").preprocessing
    teacher = Teacher(network=network, preprocessing=preprocessing, images=read_image_set(DIGITS, "train"))
    result = quantize_directly(teacher, images_of(teacher), 8, Budget(steps=3))
    assert torch.equal(result.tensors["first.weight"], result.tensors["second.weight"])
    # The weights once, in at most three bits, with their steps; few biases, so no search for duplicates.
    assert result.bytes <= 16 * 16 * 3 / 8 + 2 * 16 + 2 * (2 * 16)


def test_a_network_of_vectors_has_nothing_to_quantize() -> None:
    with pytest.raises(NernError, match="neither convolutions nor matrices"):
        levels_for(nn.BatchNorm2d(4), 1000)
