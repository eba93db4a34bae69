import torch

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.coded_layer import coded_layer
from nern_core.representations.quantized.weights import decoded_kernel, decoded_tensor


def exponents(*tables: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    filters, channels, positions = (torch.tensor(table, dtype=torch.int32) for table in tables)
    return filters, channels, positions


def test_weights_are_integers_times_the_steps_of_their_filter_channel_and_position() -> None:
    integers = torch.tensor([[[1, -2]], [[3, 0]]], dtype=torch.int32)
    layer = KernelLayer(name="w", shape=(2, 1, 2), tile=None, dtype="float16")
    coded = coded_layer(integers, exponents([0, -8], [8], [0, 16]), layer, is_transformed=False)
    weights = decoded_tensor(coded, layer)
    assert weights.dtype == torch.float16
    assert weights.tolist() == [[[2.0, -16.0]], [[3.0, 0.0]]]


def test_a_constant_frequency_is_a_constant_kernel() -> None:
    integers = torch.tensor([[[6, 0, 0, 0]]], dtype=torch.int32)
    layer = KernelLayer(name="w", shape=(1, 1, 2, 2), tile=None, dtype="float32")
    coded = coded_layer(integers, exponents([0], [0], [0] * 4), layer, is_transformed=True)
    torch.testing.assert_close(decoded_tensor(coded, layer), torch.full((1, 1, 2, 2), 3.0))


def test_a_kernel_of_a_matrix_is_a_tile_and_the_last_one_is_padded() -> None:
    integers = torch.arange(20, dtype=torch.int32).view(1, 20, 1)
    layer = KernelLayer(name="w", shape=(1, 20), tile=16, dtype="float32")
    coded = coded_layer(integers, exponents([0], [0] * 20, [0]), layer, is_transformed=False)
    assert decoded_tensor(coded, layer).tolist() == [list(range(20))]
    assert decoded_kernel(coded, layer, 0, 0).tolist() == list(range(16))
    assert decoded_kernel(coded, layer, 0, 1).tolist() == [16.0, 17.0, 18.0, 19.0] + [0.0] * 12


def test_integers_beyond_the_range_of_the_dtype_are_clamped() -> None:
    layer = KernelLayer(name="w", shape=(1, 2, 3), tile=None, dtype="float16")
    integers = torch.full((1, 2, 3), 1000, dtype=torch.int32)
    coded = coded_layer(integers, exponents([80], [0, 0], [0] * 3), layer, is_transformed=False)
    assert decoded_tensor(coded, layer).isfinite().all()
