import math
from collections import Counter

import pytest
import torch

from nern_core.analysis.meta_compression.operations import Compressed, counted_bytes, entropy_bits, prune, quantize
from nern_core.tensors.rounding import round_to_nearest


def test_the_smallest_values_of_all_tensors_together_become_zero() -> None:
    tensors = {"a": torch.tensor([[0.5, -3.0], [1.0, 0.25]]), "b": torch.tensor([[2.0, -0.125]])}
    pruned = prune(tensors, 0.5)
    assert pruned["a"].values.tolist() == [[0.0, -3.0], [1.0, 0.0]]
    assert pruned["b"].values.tolist() == [[2.0, 0.0]]


def test_of_equal_magnitudes_exactly_the_share_becomes_zero() -> None:
    assert int((prune({"a": torch.ones(4, 5)}, 0.3)["a"].values == 0).sum()) == 6


def test_a_pruned_tensor_takes_its_mask_and_two_bytes_for_each_value_left() -> None:
    pruned = prune({"a": torch.arange(1.0, 9.0).view(2, 4)}, 0.25)["a"]
    mask = 8 * -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert pruned.bits == pytest.approx(mask + 6 * 16)


def test_pruning_nothing_is_storing_in_half_precision() -> None:
    tensor = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    kept = prune({"a": tensor}, 0.0)["a"]
    assert torch.equal(kept.values, tensor.half().float())
    assert kept.bits == 12 * 16


def test_a_quantized_tensor_takes_the_entropy_of_its_symbols_and_a_scale_for_each_row() -> None:
    tensor = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    quantized = quantize({"a": tensor}, 4)["a"]
    counts = Counter(round_to_nearest(tensor, 4).symbols.flatten().tolist()).values()
    entropy = -sum(count * math.log2(count / 300) for count in counts)
    assert quantized.bits == pytest.approx(entropy + 6 * 16)
    torch.testing.assert_close(quantized.values, round_to_nearest(tensor, 4).values(), rtol=1e-3, atol=0)


def test_symbols_that_are_all_alike_take_nothing_and_even_ones_their_logarithm() -> None:
    assert entropy_bits(torch.zeros(10)) == 0
    assert entropy_bits(torch.arange(8).repeat(3)) == pytest.approx(24 * 3)


def test_counted_bytes_add_up_what_is_compressed_and_what_is_kept() -> None:
    compressed = [Compressed(torch.zeros(1), 12.5), Compressed(torch.zeros(1), 4.0)]
    kept = [torch.zeros(3), torch.zeros(2, dtype=torch.float16), torch.zeros(5, dtype=torch.uint8)]
    assert counted_bytes(compressed, kept) == 3 + 12 + 4 + 5
