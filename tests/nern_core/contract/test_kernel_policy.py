import math
import re
from typing import Any

import pytest

from nern_core.contract.errors import NernError
from nern_core.contract.kernel_policy import choose_tensors, default_hidden_size, is_named

SHAPES = {
    "stem": (64, 3, 7, 7),
    "conv": (64, 64, 3, 3),
    "row": (64, 64, 1, 3),
    "pointwise": (64, 64, 1, 1),
    "depthwise": (64, 1, 3, 3),
    "linear": (64, 64),
    "class_token": (1, 1, 768),
    "positions": (1, 197, 768),
    "layer_scale": (768, 1, 1),
    "few_inputs": (512, 2),
    "small": (5, 5, 3, 3),
    "bias": (4096,),
    "empty": (0, 64, 3, 3),
}


def chosen(*kernels: str, hidden_size: int | None = 8, **shapes: Any) -> list[str]:
    return list(choose_tensors(shapes or SHAPES, kernels, hidden_size))


def test_spatial_takes_kernels_of_any_axis_of_2_and_more() -> None:
    assert chosen("spatial") == ["stem", "conv", "row", "depthwise"]


def test_all_takes_every_tensor_of_two_and_more_axes() -> None:
    more = ["pointwise", "depthwise", "linear", "class_token", "positions", "layer_scale", "few_inputs"]
    assert chosen("all") == ["stem", "conv", "row", *more]


def test_without_a_predictor_small_tensors_are_taken_too() -> None:
    assert chosen("all", hidden_size=0, tiny=(4, 3), small=(4, 4), experts=(8, 256, 128)) == ["small", "experts"]


@pytest.mark.parametrize(
    ("shape", "tile"),
    [
        ((8, 256, 128), 16),
        ((1, 197, 768), 16),
        ((768, 8), 8),
        ((768, 1, 1), 1),
        ((32, 16, 64, 1), None),
        ((128, 1, 512, 1), None),
        ((1, 1, 1024, 1024), 16),
        ((8, 4, 4, 16, 16), None),
        ((8, 1, 16, 16, 16), 16),
        ((4, 2, 2**20), 16),
        ((4, 4, 4, 4, 4, 4), 16),
    ],
)
def test_every_shape_is_cut_into_kernels_or_tiles(shape: tuple[int, ...], tile: int | None) -> None:
    assert choose_tensors({"w": shape}, ["all"], 0) == {"w": tile}


def test_a_tensor_is_named_by_a_pattern_not_by_a_word() -> None:
    assert is_named("layer.weight", ["all", "layer.*"])
    assert not is_named("layer.weight", ["all", "!layer.*"])


@pytest.mark.parametrize(
    ("dtype", "sentence"),
    [
        ("complex64", "its weights are complex (complex64); only real floating-point weights can be represented; save"),
        ("int64", "its tensors are int64; only floating-point weights can be represented; keep the file as it is."),
    ],
)
def test_weights_of_another_dtype_are_refused_with_a_sentence_for_it(dtype: str, sentence: str) -> None:
    with pytest.raises(NernError, match=re.escape(sentence)):
        choose_tensors({}, ["all"], 0, other_weights={dtype: 64 * 64})


@pytest.mark.parametrize("shapes", [{}, {"scales": (64, 1)}, {"fc.scale": (64, 4)}])
def test_weights_that_are_integers_already_are_refused_as_such(shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(
        NernError, match="its weights are already int8; only floating-point weights can be represented"
    ) as error:
        choose_tensors(shapes, ["all"], 0, other_weights={"int8": 64 * 64})
    assert error.value.code == "no_kernels"


def test_integers_beside_weights_are_no_fault() -> None:
    assert choose_tensors({"w": (64, 64)}, ["all"], 0, other_weights={"int8": 64 * 64}) == {"w": 16}


def test_matrices_are_cut_into_tiles_of_16_or_of_all_of_a_shorter_row() -> None:
    assert choose_tensors(SHAPES, ["all"], 8) == {
        "stem": None,
        "conv": None,
        "row": None,
        "pointwise": 16,
        "depthwise": None,
        "linear": 16,
        "class_token": 16,
        "positions": 16,
        "layer_scale": 1,
        "few_inputs": 2,
    }


def test_kernels_that_share_a_coordinate_are_tiles_where_there_are_as_many_channels() -> None:
    convolutions = {name: SHAPES[name] for name in ("stem", "conv", "row", "pointwise", "depthwise", "linear", "small")}
    assert choose_tensors(convolutions, ["all", "small"], 8, 16) == {
        "stem": None,
        "conv": 16 * 9,
        "row": 16 * 3,
        "pointwise": 16,
        "depthwise": None,
        "linear": 16,
        "small": None,
    }


def test_heads_of_kernels_that_share_a_coordinate_have_to_pay_too() -> None:
    shapes = {"wide": (64, 64, 3, 3), "narrow": (16, 32, 3, 3), "line": (32, 16, 5)}
    assert list(choose_tensors(shapes, ["spatial"], 30, 16)) == ["wide", "narrow", "line"]
    # The head for the line's kernels, 16 x 5 values, has more parameters than the line has weights.
    assert list(choose_tensors(shapes, ["spatial"], 40, 16)) == ["wide", "narrow"]


def test_patterns_take_exactly_what_matches_small_tensors_too() -> None:
    assert chosen("s*", "class_*") == ["stem", "class_token", "small"]
    assert choose_tensors(SHAPES, ["positions"], 8) == {"positions": 16}


def test_a_pattern_after_an_exclamation_mark_excludes() -> None:
    assert chosen("all", "!stem") == [name for name in chosen("all") if name != "stem"]
    assert chosen("*wise", "!depth*") == ["pointwise"]
    assert chosen("all", "!*wise", "!*s*e*", "!few*", "!class*") == ["conv", "row", "linear", "positions"]


@pytest.mark.parametrize(("hidden_size", "word"), [(0, "all"), (8, "spatial"), (None, "spatial")])
def test_exclusions_alone_mean_the_default_word_without_them(hidden_size: int | None, word: str) -> None:
    assert chosen("!linear", hidden_size=hidden_size) == chosen(word, "!linear", hidden_size=hidden_size)
    assert chosen(hidden_size=hidden_size) == chosen(word, hidden_size=hidden_size)


def test_exclusions_that_leave_nothing_are_named_as_the_cause() -> None:
    with pytest.raises(NernError, match=r"`!` exclude all tensors that are worth representing; exclude fewer\.$"):
        chosen("!*", hidden_size=0)
    with pytest.raises(NernError, match=r"exclude fewer, or represent matrices too, with `all` for the option"):
        chosen("!conv", hidden_size=8, conv=(64, 64, 3, 3), fc=(64, 64))


def test_what_is_never_represented_may_be_excluded() -> None:
    assert chosen("!bias", "!stem") == ["conv", "row", "depthwise"]


def test_patterns_may_add_to_a_word() -> None:
    assert chosen("spatial", "linear") == ["stem", "conv", "row", "depthwise", "linear"]


@pytest.mark.parametrize("pattern", ["none.*", "!none", "bias", "empty"])
def test_a_pattern_that_matches_nothing_is_named(pattern: str) -> None:
    with pytest.raises(NernError, match=f"'{pattern.removeprefix('!')}'") as error:
        chosen("spatial", pattern)
    assert error.value.code == "unmatched_pattern"


def test_a_shape_that_weighs_less_than_its_head_is_kept() -> None:
    head = (100 + 1) * 49
    enough = {"stem": (1, math.ceil(head / 49), 7, 7), "body": (64, 64, 3, 3)}
    less = {"stem": (1, math.ceil(head / 49) - 1, 7, 7), "body": (64, 64, 3, 3)}
    assert chosen("spatial", hidden_size=100, **enough) == ["stem", "body"]
    assert chosen("spatial", hidden_size=100, **less) == ["body"]
    assert chosen("spatial", "stem", hidden_size=100, **less) == ["stem", "body"]


def test_the_heaviest_shape_is_always_represented() -> None:
    assert chosen("spatial", hidden_size=4096, a=(16, 16, 3, 3), b=(8, 8, 5, 5)) == ["a"]


def test_resnet18_keeps_its_stem_under_the_default_hidden_size() -> None:
    body = {f"layer{i}": (512, 512, 3, 3) for i in range(4)}
    assert chosen("spatial", hidden_size=None, **{"conv1": (64, 3, 7, 7)} | body) == list(body)


def test_a_first_layer_of_432_weights_is_represented() -> None:
    assert chosen("spatial", conv1=(16, 3, 3, 3), conv2=(16, 16, 3, 3)) == ["conv1", "conv2"]


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ((64, 64), "`kernels` to `all`"),
        ((64, 64, 1, 1), "`kernels` to `all`"),
        ((2, 2, 3, 3), "axes with at least 256 weights"),
    ],
)
def test_where_there_is_nothing_the_error_says_what_to_do(shape: tuple[int, ...], advice: str) -> None:
    with pytest.raises(NernError, match=advice) as error:
        chosen("spatial", w=shape)
    assert error.value.code == "no_kernels"


def test_without_a_predictor_the_error_speaks_of_no_convolutions() -> None:
    with pytest.raises(NernError, match="no floating-point tensor of two or more axes with at least 16 weights"):
        choose_tensors({"bias": (64,)}, ["all"], 0)


def test_the_default_predictor_has_about_43_percent_of_the_weights() -> None:
    # ResNet20's published predictor has 117,289 parameters for 267,696 weights.
    assert default_hidden_size(267_696) == 160
    assert default_hidden_size(100) == 8
