"""Reconstructions through the supervisor and its child."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from app.jobs.models import JobStatus
from nern_core.checkpoint import read_checkpoint
from nern_core.checksum import seal
from tests.conftest import EXAMPLE, ROOT
from tests.worker.conftest import Jobs
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


def changed(path: Path, target: Path, change: Callable[[dict[str, Any]], None] | None) -> Path:
    """The file with another document, or one that is none, and a checksum that fits it."""
    tensors = safetensors.torch.load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    contents = json.loads(zlib.decompress(bytes(tensors["document"].tolist())))
    text = b"no document"
    if change is not None:
        change(contents)
        text = zlib.compress(json.dumps(contents).encode())
    tensors["document"] = torch.tensor(list(text), dtype=torch.uint8)
    safetensors.torch.save_file(tensors, target, metadata)
    seal(target)
    return target


def of_a_million_filters(contents: dict[str, Any]) -> None:
    """Declare far more than a file of this size is worth."""
    for kept in contents["kept"]:
        kept["shape"], kept["constant"] = [2**40], 0.0


HOSTILE: list[tuple[Callable[[dict[str, Any]], None] | None, str]] = [
    (None, "its document cannot be read"),
    (of_a_million_filters, "declare tensors of"),
    (lambda contents: contents.update(streams=[]), "declared lengths"),
    (lambda contents: contents["document"]["layers"][0].update(shape=[4]), "do not fit"),
    (lambda contents: contents["document"].update(tensor_order=["../../etc/passwd"]), "not the ones that it lists"),
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
