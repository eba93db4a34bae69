"""A stopped and resumed encoding ends with the same file as an uninterrupted one."""

import time
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from nern_core.contract.options import EncodeOptions
from nern_core.contract.report import Report
from nern_core.encoder import encode
from nern_core.training.snapshots import Interrupted, Snapshots
from tests.conftest import DIGITS, EXAMPLE
from tests.nern_core.quick_recipes import QUICK_RECIPES

WITH_DATA: dict[str, Any] = {"architecture": "digits-cnn", "dataset": str(DIGITS)}
CASES: dict[str, dict[str, Any]] = {
    # The second part takes two fifths of the steps, which an accurate first part saves.
    "fast, with data": WITH_DATA | {"steps": 100},
    "predictor, with data": WITH_DATA | {"representation": "predictor"},
    "predictor, without data": {"representation": "predictor"},
    "paper": WITH_DATA | {"recipe": "paper"},
    "data-free": WITH_DATA | {"recipe": "data-free"},
    "data-free predictor": WITH_DATA | {"recipe": "data-free", "representation": "predictor"},
    "progressive": WITH_DATA | {"rounds": 3},
    "for a size": WITH_DATA | {"target_bytes": 9000},
    "for a drop": WITH_DATA | {"max_drop": 1.0},
}


class StopsAfter:
    """Requests a stop after a number of steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def __call__(self) -> bool:
        self._left -= 1
        return self._left < 0


def run(folder: Path, options: dict[str, Any], snapshots: Snapshots | None = None) -> Report:
    whole = EncodeOptions(**({"steps": 60} | options))
    return encode(EXAMPLE, folder / "x.nern", whole, snapshots=snapshots, recipe=QUICK_RECIPES[whole.recipe]).report


def encoded_with_stops(folder: Path, options: dict[str, Any], steps_between: int) -> tuple[Report, int]:
    """Encode, stopping after every `steps_between` steps; return the last report and the number of starts."""
    (folder / "snapshots").mkdir()
    for starts in range(1, 1000):
        try:
            snapshots = Snapshots(folder / "snapshots", interrupted=StopsAfter(steps_between))
            return run(folder, options, snapshots), starts
        except Interrupted:
            continue
    raise AssertionError("it never ended")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_file_is_the_same_however_often_the_encoding_was_stopped(tmp_path: Path, name: str) -> None:
    for folder in ("whole", "stopped"):
        (tmp_path / folder).mkdir()
    expected = run(tmp_path / "whole", CASES[name])
    report, starts = encoded_with_stops(tmp_path / "stopped", CASES[name], steps_between=17)
    assert starts >= 3
    assert (tmp_path / "stopped" / "x.nern").read_bytes() == (tmp_path / "whole" / "x.nern").read_bytes()
    assert report.metrics.model_copy(update={"seconds": {}}) == expected.metrics.model_copy(update={"seconds": {}})
    assert report.size_trials == expected.size_trials
    last = {point.phase: point.step for point in report.curve}
    assert last == {point.phase: point.step for point in expected.curve}


def test_a_budget_in_seconds_counts_what_was_trained_before_the_stop(tmp_path: Path) -> None:
    options = {"representation": "predictor", "seconds": 6.0, "steps": None}
    (tmp_path / "snapshots").mkdir()
    first_steps: list[float] = []

    def after_four_seconds() -> bool:
        first_steps.append(time.monotonic())
        return first_steps[-1] - first_steps[0] > 4

    with pytest.raises(Interrupted):
        run(tmp_path, options, Snapshots(tmp_path / "snapshots", interrupted=after_four_seconds))
    started = time.monotonic()
    report = run(tmp_path, options, Snapshots(tmp_path / "snapshots"))
    assert time.monotonic() - started < 5
    assert report.metrics.seconds["reconstruction"] >= 6


def test_damaged_and_foreign_snapshots_are_not_used(tmp_path: Path) -> None:
    options = {"representation": "predictor"}
    (tmp_path / "snapshots").mkdir()
    run(tmp_path, options)
    whole = (tmp_path / "x.nern").read_bytes()
    (tmp_path / "snapshots" / "stage-0").write_bytes(b"damaged")
    run(tmp_path, options, Snapshots(tmp_path / "snapshots"))
    assert (tmp_path / "x.nern").read_bytes() == whole


def test_every_stage_has_one_file_that_is_told_when_it_is_saved(tmp_path: Path) -> None:
    (tmp_path / "snapshots").mkdir()
    told: list[str] = []
    options = WITH_DATA | {"representation": "predictor"}
    run(tmp_path, options, Snapshots(tmp_path / "snapshots", on_saved=told.append))
    assert told == ["stage-0", "stage-1"]
    assert sorted(path.name for path in (tmp_path / "snapshots").iterdir()) == told


def test_a_snapshot_that_finds_no_room_is_logged_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("nern_core.training.snapshots.snapshots.write_state", full)
    saved: list[str] = []
    Snapshots(tmp_path, on_saved=saved.append).save("stage-0", {"step": 3})
    assert saved == []
    assert "snapshot stage-0 was not saved" in caplog.text
