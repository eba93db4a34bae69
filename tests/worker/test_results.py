"""Results of a hostile runner: they are checked before anything is published."""

import json
import math
from collections.abc import Generator
from typing import Any

import pytest

from app.jobs.models import Job, JobStatus
from tests.conftest import EXAMPLE
from tests.worker.conftest import Jobs
from tests.worker.scripted_child import METRICS, ScriptedChild, succeed
from tests.worker.supervision import run
from worker.results import publish

INVALID = "The job's results are missing or invalid; see the worker's log."


def with_metrics(**changes: Any) -> Any:
    """Return a script that leaves results with changed metrics."""

    def script(child: ScriptedChild) -> Generator[None, None, None]:
        yield
        child.leave_results(**changes)

    return script


def is_refused(job: Job) -> bool:
    return (job.status, job.error_code, job.error_message, job.artifacts) == (
        JobStatus.FAILED,
        "internal_error",
        INVALID,
        None,
    )


@pytest.mark.parametrize(
    "change", [{"ratio": math.nan}, {"seconds": {"total": math.inf}}, {"kept_bytes": 10**30}], ids=str
)
def test_metrics_that_no_row_can_hold_fail_the_job(jobs: Jobs, change: dict[str, Any]) -> None:
    assert is_refused(run(jobs, with_metrics(**change)))


def test_text_in_metrics_is_escaped(jobs: Jobs) -> None:
    job = run(jobs, with_metrics(seconds={"total": 1.0, "a\0b": 2.0}))
    assert job.status == JobStatus.SUCCEEDED
    assert (job.metrics or {})["seconds"].keys() == {"total", "publication", "a\\x00b"}


def test_metrics_without_end_fail_the_job(embedded_jobs: Jobs) -> None:
    seconds = METRICS["seconds"] | {str(number): 1.0 for number in range(20_000)}
    assert is_refused(run(embedded_jobs, with_metrics(seconds=seconds)))


def test_a_number_beyond_the_range_of_floats_fails_the_job(embedded_jobs: Jobs) -> None:
    def script(child: ScriptedChild) -> Generator[None, None, None]:
        yield
        child.leave_results()
        report = json.dumps({"metrics": METRICS}).replace('"total": 1.0', '"total": 1e999')
        child.folder.report.write_text(report)

    assert is_refused(run(embedded_jobs, script))


def leave_nothing(child: ScriptedChild) -> Generator[None, None, None]:
    yield


def leave_a_file_in_place_of_the_folder(child: ScriptedChild) -> Generator[None, None, None]:
    yield
    child.folder.results.rmdir()
    child.folder.results.touch()


def leave_a_report_that_is_no_json(child: ScriptedChild) -> Generator[None, None, None]:
    yield
    child.leave_results()
    child.folder.report.write_bytes(b"\xff{")


@pytest.mark.parametrize("script", [leave_nothing, leave_a_file_in_place_of_the_folder, leave_a_report_that_is_no_json])
def test_a_job_without_usable_results_fails(embedded_jobs: Jobs, script: Any) -> None:
    assert is_refused(run(embedded_jobs, script))


def test_links_are_not_published(embedded_jobs: Jobs) -> None:
    secret = embedded_jobs.settings.data_dir / "secret"
    secret.write_text("secret")

    def link(child: ScriptedChild) -> Generator[None, None, None]:
        yield
        child.leave_results()
        child.folder.result("weights.pt").unlink()
        child.folder.result("weights.pt").symlink_to(secret)

    assert is_refused(run(embedded_jobs, link))


# Reconstructions: two files and no report


def leave_weights(child: ScriptedChild) -> Generator[None, None, None]:
    yield
    child.folder.result("weights.safetensors").write_bytes(b"s" * 1000)
    child.folder.result("weights.pt").write_bytes(b"p" * 1000)


def stored_files(jobs: Jobs) -> list[str]:
    """Return the digests of all artifacts."""
    return [found.name for found in jobs.folder.folder.rglob("*") if len(found.name) == 64]


def test_the_weights_of_a_reconstruction_are_published_without_metrics(jobs: Jobs) -> None:
    job = run(jobs, leave_weights, jobs.submit_encoding(EXAMPLE))
    assert (job.status, job.error_message, job.metrics) == (JobStatus.SUCCEEDED, None, None)
    assert (job.artifacts or {}).keys() == {"weights.safetensors", "weights.pt"}
    assert job.result_bytes == 2000


def test_results_that_are_larger_than_expected_fail_the_job(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two files is smaller than the limit, but not both together."""
    monkeypatch.setattr("worker.results._MORE_THAN_EXPECTED", 0)
    job = run(jobs, leave_weights, jobs.submit_encoding(EXAMPLE, expected_bytes=1500))
    assert (job.status, job.error_code) == (JobStatus.FAILED, "results_too_large")
    assert stored_files(jobs) == [job.checkpoint_sha256]


def test_a_job_whose_results_are_removed_before_it_has_ended_is_retried(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish_and_lose(*arguments: Any) -> Any:
        artifacts = publish(*arguments)
        assert jobs.store.remove_unused(artifacts["weights.pt"].sha256, math.inf)
        return artifacts

    job_id = jobs.submit_encoding(EXAMPLE)
    with monkeypatch.context() as losing:
        losing.setattr("worker.supervisor.publish", publish_and_lose)
        job = run(jobs, leave_weights, job_id)
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 1)
    assert run(jobs, leave_weights, job_id).status == JobStatus.SUCCEEDED


def test_the_results_of_a_job_that_is_canceled_at_its_end_are_removed(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = jobs.submit()

    def publish_and_cancel(*arguments: Any) -> Any:
        artifacts = publish(*arguments)
        jobs.cancel(job_id)
        return artifacts

    monkeypatch.setattr("worker.supervisor.publish", publish_and_cancel)
    job = run(jobs, succeed, job_id)
    assert job.status == JobStatus.CANCELED
    assert stored_files(jobs) == [job.checkpoint_sha256]


def test_a_job_whose_encoding_the_disk_has_lost_fails(embedded_jobs: Jobs) -> None:
    job_id = embedded_jobs.submit_encoding(EXAMPLE)
    embedded_jobs.folder.path(embedded_jobs.get(job_id).checkpoint_sha256).unlink()
    assert run(embedded_jobs, leave_weights, job_id).error_code == "damaged_checkpoint"
