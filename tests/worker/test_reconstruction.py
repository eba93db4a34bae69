"""Reconstructions through the supervisor and its child."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from app.jobs.models import JobStatus
from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import EXAMPLE, ROOT
from tests.encoding_files import changed
from tests.worker.conftest import Jobs
from worker.results import publish
from worker.supervisor import Supervisor

GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.nern"))


def run(jobs: Jobs, job_id: str) -> None:
    Supervisor(jobs.settings, jobs.sessions, jobs.store, lambda: False).run(job_id)


def test_the_weights_of_an_encoding_are_published_in_both_formats(jobs: Jobs) -> None:
    path = ROOT / "tests" / "golden" / "quantized-v4.nern"
    job_id = jobs.submit_encoding(path)
    run(jobs, job_id)
    job = jobs.get(job_id)
    assert (job.status, job.error_message, job.metrics) == (JobStatus.SUCCEEDED, None, None)
    assert job.artifacts is not None
    assert set(job.artifacts) == {"weights.safetensors", "weights.pt"}
    assert job.result_bytes == sum(artifact["bytes"] for artifact in job.artifacts.values())
    expected = read_checkpoint(path.with_suffix(".safetensors")).tensors
    for artifact in job.artifacts.values():
        found = read_checkpoint(jobs.folder.path(artifact["sha256"])).tensors
        assert set(found) == set(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert list(jobs.settings.scratch.iterdir()) == []


def of_a_million_filters(contents: dict[str, Any]) -> None:
    """Declare far more weights than a file of this size can have."""
    for kept in contents["kept"]:
        kept["shape"], kept["constant"] = [2**40], 0.0


HOSTILE: list[tuple[Callable[[dict[str, Any]], None] | None, str]] = [
    (None, "its document cannot be read"),
    (of_a_million_filters, "bytes of tensors"),
    (lambda contents: contents.update(streams=[]), "declared lengths"),
    (lambda contents: contents["document"]["layers"][0].update(shape=[4]), "of its document are invalid"),
    (
        lambda contents: contents["document"].update(tensor_order=["../../etc/passwd"]),
        "do not match its list of tensors",
    ),
]


@pytest.mark.parametrize(("change", "sentence"), HOSTILE)
def test_a_hostile_encoding_with_the_right_checksum_ends_as_a_failed_job(
    embedded_jobs: Jobs, tmp_path: Path, change: Callable[[dict[str, Any]], None] | None, sentence: str
) -> None:
    job_id = embedded_jobs.submit_encoding(changed(GOLDEN[-1], tmp_path / "hostile.nern", change))
    run(embedded_jobs, job_id)
    job = embedded_jobs.get(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "bad_encoding")
    assert job.error_message is not None
    assert sentence in job.error_message
    assert job.error_message.endswith(".")


def test_what_is_no_encoding_at_all_ends_as_a_failed_job(embedded_jobs: Jobs) -> None:
    job_id = embedded_jobs.submit_encoding(EXAMPLE)
    run(embedded_jobs, job_id)
    job = embedded_jobs.get(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "not_an_encoding")


def test_an_encoding_that_the_disk_has_lost_ends_as_a_failed_job(embedded_jobs: Jobs) -> None:
    job_id = embedded_jobs.submit_encoding(GOLDEN[0])
    embedded_jobs.folder.path(embedded_jobs.get(job_id).checkpoint_sha256).unlink()
    run(embedded_jobs, job_id)
    assert embedded_jobs.get(job_id).error_code == "damaged_checkpoint"


def test_results_that_are_larger_than_was_reserved_for_them_fail_the_job(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ROOT / "tests" / "golden" / "quantized-v4.nern"
    # Each of the two files is smaller than both together.
    expected = round(1.5 * path.with_suffix(".safetensors").stat().st_size)
    monkeypatch.setattr("worker.results._MORE_THAN_EXPECTED", 0)
    job_id = jobs.submit_encoding(path, expected)
    run(jobs, job_id)
    job = jobs.get(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "results_too_large")
    assert [found.name for found in jobs.folder.folder.rglob("*") if len(found.name) == 64] == [job.checkpoint_sha256]


def test_a_job_whose_results_are_removed_before_it_has_ended_is_done_again(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = jobs.submit_encoding(ROOT / "tests" / "golden" / "quantized-v4.nern")

    def publish_and_lose(*arguments: Any) -> Any:
        artifacts = publish(*arguments)
        assert jobs.store.remove_unused(artifacts["weights.pt"].sha256, math.inf)
        return artifacts

    with monkeypatch.context() as losing:
        losing.setattr("worker.supervisor.publish", publish_and_lose)
        run(jobs, job_id)
    assert (jobs.get(job_id).status, jobs.get(job_id).attempt) == (JobStatus.QUEUED, 1)
    run(jobs, job_id)
    assert jobs.get(job_id).status == JobStatus.SUCCEEDED


def test_the_results_of_a_job_that_is_canceled_at_its_end_are_removed(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = jobs.submit_encoding(ROOT / "tests" / "golden" / "quantized-v4.nern")

    def publish_and_cancel(*arguments: Any) -> Any:
        artifacts = publish(*arguments)
        jobs.cancel(job_id)
        return artifacts

    monkeypatch.setattr("worker.supervisor.publish", publish_and_cancel)
    run(jobs, job_id)
    job = jobs.get(job_id)
    assert job.status == JobStatus.CANCELED
    assert [found.name for found in jobs.folder.folder.rglob("*") if len(found.name) == 64] == [job.checkpoint_sha256]
