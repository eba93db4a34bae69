import math

import torch

from nern_core.embedding import positional_encoding


def test_interleaves_sines_and_cosines_of_falling_frequencies() -> None:
    code = positional_encoding(torch.tensor([3]), levels=2, base=0.76)
    angles = [3 * math.pi, 3 * 0.76 * math.pi]
    expected = [math.sin(angles[0]), math.cos(angles[0]), math.sin(angles[1]), math.cos(angles[1])]
    torch.testing.assert_close(code, torch.tensor([expected], dtype=torch.float64))


def test_has_two_numbers_for_each_level() -> None:
    assert positional_encoding(torch.arange(5), levels=40, base=0.76).shape == (5, 80)


def test_codes_of_neighbours_are_closer_than_codes_of_strangers() -> None:
    codes = positional_encoding(torch.arange(64), levels=40, base=0.76)
    assert (codes[10] - codes[12]).norm() < (codes[10] - codes[50]).norm()
