from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.datasets.stored_structure import ArrayView
from app.datasets.views import SplitView
from app.jobs.models import Job, JobStatus
from app.jobs.schemas import JobView
from app.pages import presentation
from nern_core.contract.metrics import Metrics
from nern_core.contract.options import EncodeOptions
from nern_core.contract.progress import Phase

METRICS = {
    "source_bytes": 1_000_000,
    "file_bytes": 80_000,
    "predictor_bytes": 0,
    "permutation_bytes": 0,
    "integer_bytes": 70_000,
    "kept_bytes": 9_000,
    "ratio": 12.5,
    "relative_error": 0.1,
    "original_accuracy": 91.73,
    "reconstructed_accuracy": 91.5,
    "seconds": {"total": 60.0},
}


def view(status: JobStatus = JobStatus.RUNNING, **columns: Any) -> JobView:
    """Create a job as the API describes it."""
    defaults: dict[str, Any] = {
        "kind": "encoding",
        "options": {},
        "attempt": 1,
        "data_removed": False,
        "created_at": datetime.now(UTC),
    }
    job = Job(id="job_1", status=status, checkpoint_sha256="c" * 64, checkpoint_bytes=5, **(defaults | columns))
    return JobView.of(job, timedelta(days=1))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1234, "1.23 KB"),
        (231_448, "231 KB"),
        (999_499, "999 KB"),
        (999_600, "1 MB"),
        (999_600_000, "1 GB"),
        (5e12, "5 TB"),
        (5e15, "5,000 TB"),
    ],
)
def test_sizes_have_three_digits(count: float, text: str) -> None:
    assert presentation.size(count) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0.012345, "0.0123"), (12.0, "12"), (999.4, "999"), (999.6, "1,000"), (12_345.6, "12,346")]
)
def test_a_figure_has_three_digits_and_no_exponent(number: float, text: str) -> None:
    assert presentation.figure(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(5.4, "5 s"), (61, "1 min 1 s"), (3900, "1 h 5 min"), (180_000, "2 d 2 h")]
)
def test_times_have_two_units(seconds: float, text: str) -> None:
    assert presentation.duration(seconds) == text


@pytest.mark.parametrize(
    ("options", "goal"),
    [
        ({}, "default size"),
        ({"target_ratio": 12}, "compression ratio 12"),
        ({"target_bytes": 73000}, "in 73,000 bytes"),
        ({"hidden_size": 160}, "hidden size 160"),
        ({"representation": "predictor"}, "predictor"),
    ],
)
def test_the_goal_is_what_was_asked_for(options: dict[str, Any], goal: str) -> None:
    assert presentation.goal(EncodeOptions.model_validate(options)) == goal


@pytest.mark.parametrize(
    ("accuracy", "text"),
    [
        (91.5, "12.5 times smaller than the tensors, 0.23 points less accurate"),
        (91.8, "12.5 times smaller than the tensors, 0.07 points more accurate"),
        (91.73, "12.5 times smaller than the tensors, as accurate"),
        (91.733, "12.5 times smaller than the tensors, as accurate"),
        (None, "12.5 times smaller than the tensors"),
    ],
)
def test_the_result_is_its_size_and_what_it_costs(accuracy: float | None, text: str) -> None:
    assert presentation.result(view(metrics=METRICS | {"reconstructed_accuracy": accuracy})) == text


def test_without_a_result_the_list_says_why() -> None:
    assert presentation.result(view(JobStatus.QUEUED)) == "The job waits for a worker."


def test_the_time_that_a_job_has_taken_is_that_of_its_work() -> None:
    start = datetime.now(UTC) - timedelta(seconds=90)
    ended = view(JobStatus.CANCELED, created_at=start, started_at=start, finished_at=start + timedelta(seconds=75))
    assert presentation.elapsed(ended) == 75
    assert 90 <= presentation.elapsed(view(created_at=start, started_at=start)) < 100
    assert presentation.elapsed(view(JobStatus.QUEUED, created_at=start)) == 0
    assert 90 <= presentation.waiting(view(JobStatus.QUEUED, created_at=start)) < 100
    ahead = view(started_at=datetime.now(UTC) + timedelta(seconds=30))
    assert presentation.elapsed(ahead) == 0


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_has_a_meaning(phase: Phase) -> None:
    (now,) = [shown for shown in presentation.phases(view(phase=phase.value)) if shown["state"] == "now"]
    assert now["name"] == phase.value
    assert now["meaning"]


def states(job: JobView) -> dict[str, str]:
    return {phase["name"]: phase["state"] for phase in presentation.phases(job)}


def test_phases_before_the_present_one_are_done() -> None:
    job = view(options={"architecture": "digits-cnn", "dataset": "digits"}, phase="distillation")
    assert states(job) == {
        "starting": "done",
        "reading": "done",
        "quantization": "done",
        "distillation": "now",
        "writing": "next",
        "evaluation": "next",
        "comparison": "next",
        "publication": "next",
    }


def test_a_predictor_orders_kernels_and_reconstructs_them() -> None:
    job = view(options={"representation": "predictor"}, phase="ordering")
    assert states(job) == {
        "starting": "done",
        "reading": "done",
        "ordering": "now",
        "reconstruction": "next",
        "writing": "next",
        "evaluation": "next",
        "comparison": "next",
        "publication": "next",
    }


def test_a_job_with_a_result_has_done_all_phases() -> None:
    assert set(states(view(JobStatus.SUCCEEDED, metrics=METRICS, phase="evaluation")).values()) == {"done"}


def test_a_reconstruction_reads_and_writes() -> None:
    job = view(kind="reconstruction", phase="reading")
    assert presentation.title(job) == "Weight reconstruction"
    assert states(job) == {"starting": "done", "reading": "now", "writing": "next", "publication": "next"}
    assert set(states(view(JobStatus.SUCCEEDED, kind="reconstruction", phase="writing")).values()) == {"done"}


def test_a_phase_that_was_not_expected_is_shown_in_its_place() -> None:
    assert states(view(options={"target_ratio": 12}, phase="synthesis")) == {
        "starting": "done",
        "reading": "done",
        "synthesis": "now",
        "quantization": "next",
        "writing": "next",
        "evaluation": "next",
        "comparison": "next",
        "publication": "next",
    }
    assert list(states(view(phase="polishing")).items())[-1] == ("polishing", "now")


@pytest.mark.parametrize(
    ("count", "shape", "text"),
    [(50_000, [32, 32, 3], "50,000 of 32 by 32"), (9, None, "9"), (None, None, "unknown")],
)
def test_images_are_counted_with_their_size(count: int | None, shape: list[int] | None, text: str) -> None:
    assert presentation.images(SplitView(bytes=1, images=count, shape=shape)) == text


def test_arrays_are_counted_with_their_names() -> None:
    names = ("inputs.ids", "inputs.mask", "labels")
    found = [ArrayView(name=name, dtype="I64", shape=[6400, 12]) for name in names]
    assert presentation.arrays(found) == "6,400 of ids, mask, labels"


@pytest.mark.parametrize(
    ("level", "text"),
    [
        ("faithful", "12.5 times smaller than the tensors"),
        ("degraded", "12.5 times smaller than the tensors, degraded"),
    ],
)
def test_the_list_names_a_result_that_is_not_faithful(level: str, text: str) -> None:
    verdict = {"level": level, "sentence": "The accuracy was not measured."}
    assert presentation.result(view(metrics=METRICS | {"reconstructed_accuracy": None, "verdict": verdict})) == text


@pytest.mark.parametrize(("tensor_bytes", "text"), [(19_240, "5.3 KB for 19.2 KB of tensors"), (0, "5.3 KB")])
def test_sizes_name_the_tensors_that_the_ratio_refers_to(tensor_bytes: int, text: str) -> None:
    metrics = Metrics.model_validate(METRICS | {"file_bytes": 5_298, "tensor_bytes": tensor_bytes})
    assert presentation.sizes(metrics) == text
