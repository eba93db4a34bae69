"""Flags that are derived from the options of an encoding."""

from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner

from nern_cli.encode_options import takes_encode_options, takes_job_options
from nern_cli.option_words import bounds_of, choices_of, flag_of, help_of, with_flags
from nern_core.contract.options import Device, EncodeOptions, Permutation

OF_EACH_OPTION = {
    "architecture": "digits-cnn",
    "key": "params_ema",
    "dataset": "digits",
    "representation": "predictor",
    "recipe": "paper",
    "hidden_size": 16,
    "kernels_per_coordinate": 4,
    "permutation": "in-filter",
    "steps": 20,
    "rounds": 2,
    "fail_over": 0.5,
    "importance": True,
    "direct_quantization": True,
    "seed": 7,
    "device": "gpu",
}


def parsed(
    takes: Callable[[Callable[..., None]], Callable[..., None]], arguments: list[str]
) -> tuple[int, EncodeOptions | None, str]:
    """Return the exit status, the options that a command gets, and its output."""
    got: list[EncodeOptions] = []
    app = typer.Typer()

    @app.command()
    @takes
    def command(options: EncodeOptions) -> None:
        got.append(options)

    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    return result.exit_code, got[0] if got else None, result.output


def test_a_job_has_the_defaults_of_the_model() -> None:
    assert parsed(takes_job_options, []) == (0, EncodeOptions(), "")


def test_a_flag_sets_its_option() -> None:
    arguments = []
    for option, value in OF_EACH_OPTION.items():
        arguments += [flag_of(option)] if value is True else [flag_of(option), str(value)]
    status, options, _ = parsed(takes_job_options, arguments)
    assert (status, options) == (0, EncodeOptions.model_validate(OF_EACH_OPTION))


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        (["--target-bytes", "9000"], EncodeOptions(target_bytes=9000)),
        (["--target-ratio", "8.5"], EncodeOptions(target_ratio=8.5)),
        (["--seconds", "1.5"], EncodeOptions(seconds=1.5)),
        (["--kernels", "a.*", "--kernels", "!a.b"], EncodeOptions(kernels=("a.*", "!a.b"))),
        (["--permutation", "none"], EncodeOptions(permutation=Permutation.NONE)),
    ],
)
def test_flags_that_exclude_each_other_set_their_options_too(flag: list[str], expected: EncodeOptions) -> None:
    assert parsed(takes_job_options, flag) == (0, expected, "")


def test_every_option_is_a_flag_of_jobs_in_the_order_of_the_model() -> None:
    status, _, shown = parsed(takes_job_options, ["--help"])
    places = [shown.index(f" {flag_of(option)} ") for option in EncodeOptions.model_fields]
    assert (status, places) == (0, sorted(places))


@pytest.mark.parametrize("flag", ["--importance", "--direct-quantization"])
def test_options_of_jobs_are_no_flags_of_this_machine(flag: str) -> None:
    assert parsed(takes_encode_options, [flag])[0] == 2
    assert parsed(takes_job_options, [flag.replace("--", "--no-")])[0] == 2


def test_devices_of_this_machine_have_names_that_jobs_do_not_have() -> None:
    status, options, _ = parsed(takes_encode_options, ["--device", "cuda"])
    assert (status, options) == (0, EncodeOptions(device=Device.GPU))
    assert parsed(takes_job_options, ["--device", "cuda"])[0] == 2


def test_a_text_with_few_values_shows_them() -> None:
    assert "[auto|quantized|predictor]" in parsed(takes_encode_options, ["--help"])[2]
    assert choices_of("representation") == ("auto", "quantized", "predictor")
    assert choices_of("recipe") == ("fast", "paper", "data-free")
    assert choices_of("key") == ()


def test_help_is_the_first_paragraph_of_the_description_in_the_words_of_the_command_line() -> None:
    description = EncodeOptions.model_fields["seconds"].description
    assert description == (
        "Training budget in seconds. Not together with `steps`.\n\nOn a slow machine, this means fewer steps."
    )
    assert help_of("seconds") == "Training budget in seconds. Not together with --steps."


def test_every_option_has_a_short_help() -> None:
    too_long = {name: len(help_of(name)) for name in EncodeOptions.model_fields if not 10 < len(help_of(name)) < 200}
    assert too_long == {}


def test_messages_name_options_by_their_flags() -> None:
    assert with_flags("`fail_over` needs a `dataset`; see `report.json`") == (
        "--fail-over needs a --dataset; see `report.json`"
    )
    assert with_flags("needs `dataset`", mark="`") == "needs `--dataset`"


def test_bounds_are_a_sentence() -> None:
    assert bounds_of("max_drop") == "Above 0 up to 100."
    assert bounds_of("key") == ""
