import math

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from nern_core.representations.predicted.embedding import (
    Encoding,
    FourierEncoding,
    PositionalEncoding,
    encode_axes,
    positional_encoding,
)

SIZES = [(8, 3), (16, 16), (32, 2)]


def test_interleaves_sines_and_cosines_of_falling_frequencies() -> None:
    code = positional_encoding(torch.tensor([3]), levels=2, base=0.76)
    angles = [3 * math.pi, 3 * 0.76 * math.pi]
    expected = [math.sin(angles[0]), math.cos(angles[0]), math.sin(angles[1]), math.cos(angles[1])]
    torch.testing.assert_close(code, torch.tensor([expected], dtype=torch.float64))


def test_has_two_numbers_for_each_level() -> None:
    assert positional_encoding(torch.arange(5), levels=40, base=0.76).shape == (5, 80)


def test_the_positional_encoding_is_the_plain_sum_over_levels() -> None:
    found = positional_encoding(torch.arange(50), levels=40, base=0.76)
    for x in range(50):
        for level in range(40):
            angle = x * 0.76**level * math.pi
            assert float(found[x, 2 * level]) == pytest.approx(math.sin(angle), abs=1e-12)
            assert float(found[x, 2 * level + 1]) == pytest.approx(math.cos(angle), abs=1e-12)


def test_codes_of_neighbours_are_closer_than_codes_of_strangers() -> None:
    codes = positional_encoding(torch.arange(64), levels=40, base=0.76)
    assert (codes[10] - codes[12]).norm() < (codes[10] - codes[50]).norm()


def test_positional_codes_are_shared_by_all_layers() -> None:
    layer, filter_, channel = encode_axes(PositionalEncoding(levels=4), SIZES)
    assert [axis.codes.shape for axis in (layer, filter_, channel)] == [(3, 8), (32, 8), (16, 8)]
    assert filter_.starts == channel.starts == (0, 0, 0)


def test_fourier_codes_are_sinusoids_of_normal_frequencies_scaled_with_the_layer() -> None:
    encoding = FourierEncoding(frequencies=5, bandwidth=0.3, seed=7)
    layer, filter_, channel = encode_axes(encoding, SIZES)
    normal = np.random.Generator(np.random.PCG64(7)).standard_normal((3, 5))
    assert filter_.starts == (0, 8, 24)
    assert channel.starts == (0, 3, 19)
    for index, (filters, channels) in enumerate(SIZES):
        width = 0.3 * math.sqrt(filters * channels)
        cycles = [(layer, index, normal[0] * 0.3 * len(SIZES) * index / len(SIZES))]
        cycles += [(filter_, filter_.starts[index] + f, normal[1] * width * f / filters) for f in range(filters)]
        cycles += [(channel, channel.starts[index] + c, normal[2] * width * c / channels) for c in range(channels)]
        for axis, row, angles in cycles:
            expected = [wave(2 * math.pi * angle) for angle in angles for wave in (math.sin, math.cos)]
            np.testing.assert_allclose(axis.codes[row].numpy(), expected, atol=1e-12)


def test_in_a_larger_layer_the_same_part_of_the_way_is_more_cycles() -> None:
    encoding = FourierEncoding(frequencies=200, bandwidth=1e-4)
    _, filter_, _ = encode_axes(encoding, [(16, 16), (64, 64)])
    small, large = (filter_.codes[filter_.starts[i] + n // 2, 0::2] for i, n in ((0, 16), (1, 64)))
    torch.testing.assert_close(large.asin(), 4 * small.asin())


def test_fourier_codes_follow_from_the_seed() -> None:
    first, again, other = (encode_axes(FourierEncoding(seed=seed), SIZES)[1].codes for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_encodings_are_told_apart_in_json() -> None:
    adapter: TypeAdapter[Encoding] = TypeAdapter(Encoding)
    for encoding in (PositionalEncoding(levels=3), FourierEncoding(seed=5)):
        assert adapter.validate_json(adapter.dump_json(encoding)) == encoding


@pytest.mark.parametrize("text", ['{"kind": "fourier", "frequencies": 1000000}', '{"kind": "other"}'])
def test_a_document_cannot_ask_for_an_encoding_that_does_not_exist_or_fit(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Encoding).validate_json(text)
