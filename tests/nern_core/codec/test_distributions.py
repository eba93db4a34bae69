import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nern_core.codec.distributions import (
    MOST_LEVELS,
    SHIFTS,
    coding_tables,
    fit_continuations,
    half_frequencies,
    pack_distributions,
    unpack_distributions,
)
from nern_core.contract.errors import NernError

LISTS = st.lists(st.integers(1, 255), max_size=MOST_LEVELS - 1).flatmap(
    lambda start: st.integers(0, 255).map(lambda last: np.array([*start, last], np.uint8))
)


def counted(*counts: int) -> np.ndarray:
    return np.array([*counts, *[0] * (256 - len(counts))], np.int64)


def test_raw_bits_begin_two_octaves_above_a_mean_of_one() -> None:
    assert SHIFTS[[0, 24, 29, 30, 32, 33, 36, 63]].tolist() == [0, 0, 0, 1, 1, 2, 3, 12]


@given(LISTS)
def test_frequencies_sum_to_a_power_of_two_and_none_is_missing(continuations: np.ndarray) -> None:
    halves = half_frequencies(continuations)
    assert len(halves) == len(continuations) + 1
    assert halves.sum() == 2048
    assert halves[:-1].min() >= 1
    assert (halves[-1] == 0) == (continuations[-1] == 0)


def test_the_frequencies_of_a_list_are_fixed() -> None:
    # Must be the same on every machine, or streams could not be decoded.
    assert half_frequencies(np.array([128, 64, 0], np.uint8)).tolist() == [1024, 864, 160, 0]
    assert half_frequencies(np.array([200, 1], np.uint8)).tolist() == [251, 1796, 1]


def test_levels_that_do_not_occur_take_no_frequency() -> None:
    assert fit_continuations(counted(1000)).tolist() == [0]
    assert half_frequencies(fit_continuations(counted(500, 500))).tolist() == [1024, 1024, 0]


def test_a_class_without_integers_has_no_list() -> None:
    assert fit_continuations(counted()).tolist() == []


def test_a_list_is_only_as_long_as_it_pays() -> None:
    counts = [round(1_000_000 * 0.5**k) for k in range(1, 16)]
    assert 10 < len(fit_continuations(counted(*counts))) < 16
    assert len(fit_continuations(counted(*(count // 100_000 for count in counts)))) < 5


@pytest.mark.parametrize("share", [0.999, 0.99, 0.9, 0.5, 0.1])
def test_a_share_of_zeros_is_met_closely(share: float) -> None:
    others = round(100_000 * (1 - share))
    halves = half_frequencies(fit_continuations(counted(100_000 - others, others)))
    found = halves[0] / 2048
    entropy, cost = (-share * math.log2(p) - (1 - share) * math.log2(1 - p) for p in (share, found))
    assert cost <= 1.01 * entropy


@pytest.mark.parametrize("shift", [0, 1])
def test_slots_hold_the_symbols_level_by_level_the_positive_one_first(shift: int) -> None:
    tables = coding_tables([np.array([128, 64], np.uint8)], np.array([shift]))
    slots = tables.slots[0].astype(np.int64)
    symbols = (slots >> 1 & 63 ^ 32) - 32
    runs = [int(symbols[0]), *symbols[1:][np.diff(symbols) != 0].tolist()]
    assert runs == ([0, -1, 1, -2, 2, -3] if shift else [0, 1, -1, 2, -2])
    assert [int(symbol) for symbol in np.unique(symbols[slots & 1 == 1])] == ([-3, 2] if shift else [-2, 2])


@given(st.lists(st.one_of(st.just(np.empty(0, np.uint8)), LISTS), min_size=20, max_size=20))
def test_distributions_come_back(distributions: list[np.ndarray]) -> None:
    found = unpack_distributions(pack_distributions(distributions), 20)
    assert [row.tolist() for row in found] == [row.tolist() for row in distributions]


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (b"", "cut short"),
        (b"\x01", "cut short"),
        (b"\x01\x80", "cut short"),  # a bit of no class
        (b"\x01\x00", "invalid"),
        (b"\x01\x00\x02\x05", "invalid"),
        (b"\x01\x00\x00", "invalid"),  # an empty list that exists
        (b"\x01\x00\x02\x00\x05", "invalid"),  # no larger levels, but a list that continues
        (b"\x01\x00" + bytes([32] + [9] * 32), "invalid"),
        (b"\x01\x00\x01\x05\x05", "too long"),
    ],
)
def test_damaged_distributions_are_errors(packed: bytes, message: str) -> None:
    with pytest.raises(NernError, match=message):
        unpack_distributions(packed, 10)
