import torch

from nern_core.representations.quantized.coordinate_scales import fit_scales
from nern_core.representations.quantized.layer import QuantizedLayer
from nern_core.tensors.kernels import KernelLayer


def test_weights_are_integers_times_the_step_of_their_filter() -> None:
    integers = torch.tensor([[[1, -2]], [[3, 0]]], dtype=torch.int32)
    layer = QuantizedLayer(integers, torch.tensor([0, -8], dtype=torch.int32), fit_scales(integers))
    weights = layer.weights(KernelLayer(name="w", shape=(2, 1, 2), tile=None, dtype="float16"))
    assert weights.dtype == torch.float16
    assert weights.tolist() == [[[1.0, -2.0]], [[1.5, 0.0]]]


def test_what_fills_up_the_last_tile_is_left_out() -> None:
    integers = torch.arange(32, dtype=torch.int32).view(1, 2, 16)
    layer = QuantizedLayer(integers, torch.tensor([0], dtype=torch.int32), fit_scales(integers))
    weights = layer.weights(KernelLayer(name="w", shape=(1, 20), tile=16, dtype="float32"))
    assert weights.tolist() == [list(range(20))]
