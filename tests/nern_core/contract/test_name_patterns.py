import time

import pytest

from nern_core.contract.errors import NernError
from nern_core.contract.kernel_policy import choose_tensors
from nern_core.contract.name_patterns import LONGEST_PATTERN, MOST_PATTERNS, NamePatterns

NAMES = ["layer1.conv.weight", "layer2.conv.weight", "classifier.weight", "odd[name]"]


def test_patterns_are_those_of_a_shell_and_take_upper_and_lower_case_apart() -> None:
    patterns = NamePatterns(["layer?.*.weight", "[cx]lass*", "LAYER*"])
    assert [patterns.matches(name) for name in NAMES] == [True, True, True, False]
    assert patterns.unmatched(NAMES) == "LAYER*"


def test_a_whole_name_matches_itself() -> None:
    patterns = NamePatterns(["classifier.weight", "missing"])
    assert [patterns.matches(name) for name in NAMES] == [False, False, True, False]
    assert patterns.unmatched(NAMES) == "missing"
    assert NamePatterns(NAMES[:3]).unmatched(NAMES) is None


@pytest.mark.parametrize(
    "patterns", [[f"*{number}" for number in range(MOST_PATTERNS + 1)], ["*" + "x" * LONGEST_PATTERN]]
)
def test_more_and_longer_patterns_are_refused(patterns: list[str]) -> None:
    with pytest.raises(NernError, match=r"takes up to 64 patterns of up to 256 characters") as refusal:
        choose_tensors({"weight": (8, 8, 3, 3)}, patterns, 8)
    assert refusal.value.code == "too_many_patterns"


def test_many_patterns_for_many_names_are_refused_at_once() -> None:
    shapes = {f"layer{number:06}." + "a" * 100: (8, 8, 3, 3) for number in range(90_000)}
    patterns = [f"*{number:02}" + "a" * 98 + "*" for number in range(MOST_PATTERNS)]
    start = time.monotonic()
    with pytest.raises(NernError, match=r"are too many for the 90,000 tensors") as refusal:
        choose_tensors(shapes, patterns, 8)
    assert refusal.value.code == "too_many_patterns"
    # Matching all patterns takes half a minute.
    assert time.monotonic() - start < 5


def test_a_pattern_with_many_wildcards_is_matched_in_no_time() -> None:
    start = time.monotonic()
    assert NamePatterns(["*a" * 127 + "*b"]).unmatched(["a" * 512] * 1000) is not None
    assert time.monotonic() - start < 5


def test_whole_names_are_not_compared_with_every_tensor() -> None:
    shapes = {f"layer{number}.weight": (8, 8, 3, 3) for number in range(20_000)}
    assert len(choose_tensors(shapes, list(shapes)[:2000], 8)) == 2000
