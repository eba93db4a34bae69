from typing import Any

import pytest

from nern_core.contract.fidelity import Fidelity, OutputFidelity
from nern_core.contract.verdict import Evidence, VerdictLevel, judge


def evidence(**changes: Any) -> Evidence:
    known: dict[str, Any] = {
        "file_bytes": 83_077,
        "weights": 270_000,
        "original_accuracy": None,
        "reconstructed_accuracy": None,
        "relative_error": 0.01,
        "layer_errors": {"conv1": 0.01, "fc": 0.02},
        "has_predictor": False,
        "is_distilled": False,
        "steps": 0,
    }
    return Evidence(**known | changes)


@pytest.mark.parametrize(
    ("reconstructed", "level", "sentence"),
    [
        (91.8, "faithful", "The accuracy is 91.80 %, 0.07 points above the original's."),
        (91.73, "faithful", "The accuracy is 91.73 %, the same as the original's."),
        (91.23, "faithful", "The accuracy is 91.23 %, 0.50 points below the original's."),
        (91.22, "degraded", "The accuracy is 91.22 %, 0.51 points below the original's."),
        (86.73, "degraded", "The accuracy is 86.73 %, 5.00 points below the original's."),
        (86.72, "ruined", "The accuracy is 86.72 %, 5.01 points below the original's."),
    ],
)
def test_the_points_that_are_lost_decide_where_they_are_known(reconstructed: float, level: str, sentence: str) -> None:
    # Errors of the weights are not meaningful then.
    found = judge(evidence(original_accuracy=91.73, reconstructed_accuracy=reconstructed, relative_error=0.9))
    assert (found.level, found.sentence) == (level, sentence)


@pytest.mark.parametrize(
    ("error", "is_distilled", "level", "cost"),
    [
        (0.03, False, "faithful", "usually costs less than half a point of accuracy"),
        (0.031, False, "degraded", "may cost nothing or many points of accuracy; measure it with a data set"),
        (0.6, False, "degraded", "may cost nothing or many points of accuracy; measure it with a data set"),
        (0.61, False, "ruined", "usually costs most of the accuracy"),
        (0.12, True, "faithful", "usually costs less than half a point of accuracy"),
        (0.13, True, "degraded", "usually costs some points of accuracy"),
        (0.61, True, "ruined", "usually costs most of the accuracy"),
    ],
)
def test_without_data_the_errors_of_the_weights_decide(error: float, is_distilled: bool, level: str, cost: str) -> None:
    found = judge(evidence(relative_error=error, is_distilled=is_distilled))
    assert found.level == level
    assert found.sentence.startswith("The accuracy was not measured. The weights differ by ")
    assert found.sentence.endswith(f"which {cost}.")


def test_errors_of_a_predictor_weigh_more_than_those_of_rounding() -> None:
    assert judge(evidence(relative_error=0.3, has_predictor=True)).level is VerdictLevel.DEGRADED
    assert judge(evidence(relative_error=0.31, has_predictor=True)).level is VerdictLevel.RUINED


def test_layers_that_are_lost_ruin_a_network_and_are_named_the_worst_first() -> None:
    errors = {"a": 0.96, "b": 0.89, "c": 0.97, "d": 0.95, "e": 0.9, "f": 0.91}
    found = judge(evidence(layer_errors=errors))
    assert found.level is VerdictLevel.RUINED
    assert found.sentence.endswith("Little is left of the layers 'c', 'a', 'd' and 2 more.")


def test_a_faithful_encoding_needs_nothing_done() -> None:
    assert judge(evidence()).advice is None


def test_images_that_the_original_does_not_know_are_suspected() -> None:
    found = judge(evidence(original_accuracy=9.12, reconstructed_accuracy=9.12))
    assert found.advice is not None
    assert found.advice.startswith("The original's accuracy is only 9.12 %")
    assert judge(evidence(original_accuracy=20.1, reconstructed_accuracy=20.1)).advice is None


def test_large_errors_have_no_exponent() -> None:
    assert "differ by 100 %," in judge(evidence(relative_error=0.997)).sentence


def test_a_larger_file_is_advised_in_round_numbers() -> None:
    found = judge(evidence(original_accuracy=91.73, reconstructed_accuracy=90.0))
    assert found.advice == "Choose a larger target size, such as 110,000 bytes."


def test_without_data_the_advised_size_has_a_bit_more_per_weight_for_each_half_of_the_error() -> None:
    # 0.216 is three octaves above 0.9 times the faithful error: three bits more for each of 270,000 weights.
    found = judge(evidence(relative_error=0.216))
    assert found.advice == "Choose a larger target size, such as 190,000 bytes."


def test_with_a_lost_layer_the_advised_size_is_larger_though_the_error_of_all_weights_is_small() -> None:
    found = judge(evidence(relative_error=0.0, layer_errors={"a": 0.95}))
    assert found.advice == "Choose a larger target size, such as 260,000 bytes."


def test_a_training_that_was_too_short_is_named_with_what_the_network_needs() -> None:
    found = judge(
        evidence(
            original_accuracy=99.4, reconstructed_accuracy=60.0, is_distilled=True, steps=12, recommended_steps=500
        )
    )
    assert found.advice == (
        "The training of 12 steps was too short: this network needs about 500, which is the default."
    )


def test_a_predictor_that_costs_accuracy_leads_to_quantized_weights() -> None:
    found = judge(evidence(original_accuracy=99.4, reconstructed_accuracy=98.0, has_predictor=True, steps=900))
    assert found.advice == (
        "Quantized weights of the same size are more accurate: choose the representation quantized, no options of a "
        "predictor, and a target size of 83,077 bytes."
    )


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (("int8",), "int8 is no larger and at least as accurate."),
        (("int8", "zstd", "NNCodec"), "int8, zstd and NNCodec are no larger and at least as accurate."),
    ],
)
def test_better_alternatives_are_named_even_where_nothing_is_lost(names: tuple[str, ...], advice: str) -> None:
    assert judge(evidence(better_alternatives=names)).advice == advice


def of_outputs(**figures: Any) -> Fidelity:
    outputs = (OutputFidelity(name="out", relative_error=0.2, cosine=0.9),)
    return Fidelity(examples=3, outputs=outputs, **figures)


@pytest.mark.parametrize(
    ("overlap", "level"), [(95.0, "faithful"), (94.9, "degraded"), (80.0, "degraded"), (79.9, "ruined")]
)
def test_the_overlap_of_masks_or_boxes_decides_for_networks_that_have_them(overlap: float, level: str) -> None:
    boxes = judge(evidence(fidelity=of_outputs(box_f1=overlap)))
    assert boxes.level == level
    assert boxes.sentence == (
        f"On 3 held-out inputs, the boxes match the original's with an F1 score of {overlap:.2f} %; "
        "the outputs differ by 20 %."
    )
    masks = judge(evidence(fidelity=of_outputs(agreement=99.0, mean_iou=overlap)))
    assert masks.level == level
    assert masks.sentence == (
        f"On 3 held-out inputs, 99.00 % of the pixels have the original's class, and the mean IoU is {overlap:.2f} %; "
        "the outputs differ by 20 %."
    )


def fidelity(
    agreement: float | None, *, error: float = 0.05, examples: int = 1000, is_held_out: bool = True
) -> Fidelity:
    output = OutputFidelity(name="output", relative_error=error, cosine=0.9)
    return Fidelity(examples=examples, outputs=(output,), agreement=agreement, is_held_out=is_held_out)


@pytest.mark.parametrize(("agreement", "level"), [(90.0, "faithful"), (89.9, "degraded"), (49.9, "ruined")])
def test_an_accuracy_that_is_kept_with_other_answers_is_not_faithful(agreement: float, level: str) -> None:
    found = judge(
        evidence(original_accuracy=30.0, reconstructed_accuracy=65.0, fidelity=fidelity(agreement, error=0.99))
    )
    assert found.level == level
    assert found.sentence.startswith("The accuracy is 65.00 %, 35.00 points above the original's")
    assert found.sentence.endswith(
        f"but only {agreement:.2f} % of the answers are the original's; the outputs differ by 99 %."
    ) is (level != "faithful")


def test_percentages_of_few_examples_are_called_rough() -> None:
    for examples, sentence in ((1, "Only 1 example was measured"), (99, "Only 99 examples were measured")):
        advice = judge(evidence(fidelity=fidelity(100.0, examples=examples))).advice
        assert advice == f"{sentence}, so the percentages are rough; more data make them certain."
    assert judge(evidence(fidelity=fidelity(100.0, examples=100))).advice is None
    assert judge(evidence(fidelity=fidelity(None, examples=1))).advice is None


def test_inputs_of_the_training_are_not_called_held_out() -> None:
    found = judge(evidence(fidelity=fidelity(None, examples=1, is_held_out=False)))
    assert found.sentence == "On 1 input of the training, the outputs differ by 5 % from the original's."
