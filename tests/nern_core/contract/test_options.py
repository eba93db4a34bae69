from typing import Any

import pytest
from pydantic import ValidationError

from nern_core.contract.options import EncodeOptions, Tier

WITH_DATA: dict[str, Any] = {"architecture": "digits-cnn", "dataset": "digits"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"architecture": "digits-cnn"},
        WITH_DATA,
        {"recipe": "data-free", **WITH_DATA},
        {"target_ratio": 8.0},
        # With a target size there is no predictor, and so no kernels to order.
        {"target_ratio": 8.0, "permutation": "none"},
        {"max_drop": 1.0, **WITH_DATA},
        {"representation": "quantized"},
    ],
)
def test_weights_are_quantized_unless_something_asks_for_a_predictor(options: dict[str, Any]) -> None:
    found = EncodeOptions(**options)
    assert (found.representation_kind, found.represented, found.predictor_width) == ("quantized", ("all",), 0)


@pytest.mark.parametrize(
    "options",
    [
        {"representation": "predictor"},
        {"hidden_size": 64},
        {"rounds": 2},
        {"kernels_per_coordinate": 4},
        {"permutation": "none"},
        {"recipe": "paper"},
    ],
)
def test_an_option_that_only_a_predictor_has_asks_for_one(options: dict[str, Any]) -> None:
    found = EncodeOptions(**options)
    assert (found.representation_kind, found.represented) == ("predictor", ("spatial",))
    assert found.predictor_width == options.get("hidden_size")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"representation": "predictor", "target_ratio": 4.0}, "a `predictor` has no target size"),
        ({"representation": "predictor", "max_drop": 1.0, **WITH_DATA}, "a `predictor` has no target size"),
        ({"representation": "quantized", "hidden_size": 64}, "`representation` `quantized` cannot be used with"),
        ({"representation": "quantized", "rounds": 2}, "`representation` `quantized` cannot be used with"),
        ({"representation": "quantized", "recipe": "paper"}, "the recipe `paper` trains a `predictor`"),
    ],
)
def test_options_of_both_representations_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        EncodeOptions(**options)


@pytest.mark.parametrize("budget", ["steps", "seconds"])
def test_the_instant_tier_refuses_a_training_budget(budget: str) -> None:
    with pytest.raises(ValidationError, match=f"the tier `instant` trains nothing; omit `{budget}`"):
        EncodeOptions.model_validate({"tier": "instant", budget: 10})


def test_a_predictor_has_no_tiers() -> None:
    with pytest.raises(ValidationError, match="`tier` is for quantized weights"):
        EncodeOptions(tier=Tier.INSTANT, representation="predictor")
