from typing import Any

import pytest

from app.pages import options_in_words
from nern_core.contract.options import EncodeOptions


def test_every_option_has_a_label_of_its_own() -> None:
    assert options_in_words.LABELS.keys() == EncodeOptions.model_fields.keys()
    assert len(set(options_in_words.LABELS.values())) == len(options_in_words.LABELS)


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("target_ratio", {"data-above": "1", "max": "1000", "step": "any"}),
        ("max_drop", {"data-above": "0", "max": "100", "step": "any"}),
        ("seconds", {"data-above": "0", "step": "any"}),
        ("rounds", {"min": "1", "max": "10", "step": "1"}),
        ("seed", {"min": "0", "max": "9223372036854775807", "step": "1"}),
        ("key", {"maxlength": "256"}),
        ("architecture", {}),
    ],
)
def test_a_field_has_the_bounds_of_its_option(name: str, bounds: dict[str, str]) -> None:
    assert options_in_words.bounds(name) == bounds


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (600.0, "600"),
        (0.25, "0.25"),
        (1e-7, "1e-07"),
        (2**60 + 1, "1152921504606846977"),
        (True, "yes"),
        (False, "no"),
        (["layer1.*", "layer2.*"], "layer1.*, layer2.*"),
        (("all",), "all"),
        ("fast", "fast"),
        ({"of": "a newer release"}, '{"of": "a newer release"}'),
    ],
)
def test_a_value_is_written_as_people_write_it(value: object, text: str) -> None:
    assert options_in_words.plain(value) == text


@pytest.mark.parametrize(
    ("options", "given"),
    [
        (
            EncodeOptions(seconds=600, kernels=("features.0.weight",), importance=True),
            {"Training time": "600 seconds", "Kernels": "features.0.weight", "Importance of kernels": "yes"},
        ),
        ({"steps": 7, "of_a_newer_release": [1.0]}, {"Training steps": "7 steps", "of_a_newer_release": "1"}),
        (EncodeOptions(), {}),
    ],
)
def test_the_options_that_were_given_have_labels_and_units(
    options: EncodeOptions | dict[str, Any], given: dict[str, str]
) -> None:
    assert options_in_words.given(options) == given


def test_a_text_on_options_uses_their_labels_and_marks_values() -> None:
    text = options_in_words.in_words("`fail_over` needs a `dataset`; `auto` is the default.")
    assert text == "“Fail above accuracy drop” needs a “Data set”; <code>auto</code> is the default."


def test_a_text_on_options_is_escaped() -> None:
    assert options_in_words.in_words("`<b>` & `a`") == "<code>&lt;b&gt;</code> &amp; <code>a</code>"


def test_the_form_has_its_own_help_for_data_sets() -> None:
    assert options_in_words.help_of("dataset").startswith(
        "The name of an uploaded data set, or a folder on the service&#39;s machine."
    )
