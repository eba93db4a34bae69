from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from app.metrics.ended_jobs import EndedJobMetrics
from app.metrics.repository import EndedJob

METRICS = {
    "source_bytes": 100,
    "file_bytes": 50,
    "predictor_bytes": 40,
    "permutation_bytes": 4,
    "kept_bytes": 4,
    "ratio": 2.0,
    "relative_error": 0.1,
    "original_accuracy": 91.75,
    "reconstructed_accuracy": 91.5,
    "seconds": {"total": 9.0, "reconstruction": 3.0, "distillation": 5.5},
}
START = datetime(2030, 1, 1, tzinfo=UTC)


def ended(**changes: object) -> EndedJob:
    job: dict[str, object] = {
        "id": "job_1",
        "kind": "encoding",
        "status": "succeeded",
        "device": "cpu",
        "error_code": None,
        "created_at": START,
        "started_at": START + timedelta(seconds=4),
        "finished_at": START + timedelta(seconds=14),
        "metrics": METRICS,
    }
    return EndedJob(**job | changes)  # type: ignore[arg-type] # fields are given by name


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_a_success_tells_its_times_its_phases_and_what_it_cost(registry: CollectorRegistry) -> None:
    EndedJobMetrics(registry).count(ended())
    value = registry.get_sample_value
    assert value("nern_job_wait_seconds_sum", {"device": "cpu"}) == 4
    assert value("nern_job_duration_seconds_sum", {"kind": "encoding", "device": "cpu", "status": "succeeded"}) == 10
    assert value("nern_job_phase_duration_seconds_sum", {"phase": "distillation"}) == 5.5
    assert value("nern_job_accuracy_drop_points_bucket", {"le": "0.1"}) == 0
    assert value("nern_job_accuracy_drop_points_bucket", {"le": "0.25"}) == 1
    assert value("nern_job_compression_ratio_sum") == 2


def test_an_encoding_that_was_not_measured_has_no_drop(registry: CollectorRegistry) -> None:
    EndedJobMetrics(registry).count(ended(metrics=METRICS | {"reconstructed_accuracy": None}))
    assert registry.get_sample_value("nern_job_accuracy_drop_points_count") == 0


def test_a_job_that_was_canceled_in_the_queue_has_no_times(registry: CollectorRegistry) -> None:
    EndedJobMetrics(registry).count(ended(status="canceled", started_at=None, metrics=None))
    labels = {"kind": "encoding", "status": "canceled", "device": "cpu", "error": ""}
    assert registry.get_sample_value("nern_jobs_ended_total", labels) == 1
    assert registry.get_sample_value("nern_job_wait_seconds_count", {"device": "cpu"}) is None


def test_codes_of_errors_are_told_apart_up_to_a_number(registry: CollectorRegistry) -> None:
    metrics = EndedJobMetrics(registry)
    for number in range(60):
        metrics.count(ended(status="failed", error_code=f"code_{number}", metrics=None))
    metrics.count(ended(status="failed", error_code="code_7", metrics=None))

    def count(error: str) -> float | None:
        labels = {"kind": "encoding", "status": "failed", "device": "cpu", "error": error}
        return registry.get_sample_value("nern_jobs_ended_total", labels)

    assert (count("code_7"), count("code_49"), count("code_50"), count("other")) == (2, 1, None, 10)
