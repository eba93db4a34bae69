from contextlib import AbstractContextManager, nullcontext

import pytest
import torch

from nern_core.recipes.fast import FAST
from nern_core.representations.quantized import rate_distillation
from nern_core.representations.quantized.quantizer import Quantizer
from nern_core.representations.quantized.rate_distillation import RateDistillation
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.tensors.kernels import select_layers
from tests.conftest import EXAMPLE
from tests.nern_core.digits_teacher import digits_teacher, images_of

TENSORS = read_checkpoint(EXAMPLE).tensors
LAYERS = select_layers(TENSORS)


def loss_with_bfloat16_units(monkeypatch: pytest.MonkeyPatch, bits_per_weight: float) -> RateDistillation:
    monkeypatch.setattr(rate_distillation, "has_bfloat16_units", lambda device: True)
    monkeypatch.setattr(rate_distillation, "mixed_precision", lambda device: torch.autocast("cpu", torch.bfloat16))
    teacher = digits_teacher()
    quantizer = Quantizer(TENSORS, LAYERS, teacher.network, has_inputs=True)
    bits = bits_per_weight * quantizer.weights
    images = images_of(teacher)
    probe = images.inputs(*images.choose())
    parameters = quantizer.start(quantizer.plan(), bits)
    return RateDistillation(FAST.quantization, parameters, bits, teacher, quantizer.student(teacher), images, probe)


@pytest.mark.parametrize(("bits_per_weight", "is_mixed"), [(0.4, True), (7.0, False)])
def test_weights_close_to_the_original_are_trained_in_float32(
    monkeypatch: pytest.MonkeyPatch, bits_per_weight: float, is_mixed: bool
) -> None:
    loss = loss_with_bfloat16_units(monkeypatch, bits_per_weight)
    used: list[torch.device] = []

    def noted(device: torch.device) -> AbstractContextManager[None]:
        used.append(device)
        return nullcontext()

    monkeypatch.setattr(rate_distillation, "mixed_precision", noted)
    loss.compute(loss.draw(0.0))
    assert bool(used) == is_mixed
