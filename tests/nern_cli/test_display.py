from typing import Any

import pytest

from nern_cli.display import print_result, print_table


def cells(out: str) -> dict[str, str]:
    """Names and values of a table."""
    rows = [line.split("│")[1:3] for line in out.splitlines() if line.startswith("│")]
    return {name.strip(): value.strip() for name, value in rows}


def test_names_of_fields_are_made_readable_and_names_of_data_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(
        "x", {"layer_errors": {"lstm.weight_ih_l0": 0.5, "mean_accuracy": 0.25}, "labels": {"file_bytes": "many"}}
    )
    assert cells(capsys.readouterr().out) == {
        "layer errors: lstm.weight_ih_l0": "0.5",
        "layer errors: mean_accuracy": "0.25",
        "labels: file_bytes": "many",
    }


def test_fields_of_data_are_fields(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("x", {"artifacts": {"my_report.json": {"media_type": "text/json"}}, "options": {"hidden_size": 8}})
    assert cells(capsys.readouterr().out) == {
        "artifacts: my_report.json: media type": "text/json",
        "options: hidden size": "8",
    }


def test_unknown_figures_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("x", {"original_accuracy": None, "ratio": 4.0})
    assert cells(capsys.readouterr().out) == {"ratio": "4"}


@pytest.mark.parametrize(
    ("count", "layers", "remark"),
    [
        (10, 62, "The layer errors are the 10 largest of 62; the report (report.json) has all of them."),
        (10, None, "The layer errors are the 10 largest; the report (report.json) has all of them."),
        (10, 10, None),
        (3, None, None),
    ],
)
def test_more_layers_than_are_shown_are_mentioned(
    capsys: pytest.CaptureFixture[str], count: int, layers: int | None, remark: str | None
) -> None:
    metrics: dict[str, Any] = {"layer_errors": {f"layer{index}": 0.1 for index in range(count)}}
    print_result("x", metrics, layers)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == remark if remark is not None else last.startswith("└")
