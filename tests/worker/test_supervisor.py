import hashlib
import json
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from app.jobs.models import JobStatus
from nern_core.checkpoint import read_checkpoint
from tests.conftest import DIGITS, EXAMPLE
from tests.worker.conftest import Jobs
from worker.supervisor import Supervisor

FOREVER: dict[str, Any] = {"architecture": "digits-cnn", "seconds": 600}


def supervisor(jobs: Jobs, stopping: Callable[[], bool] = lambda: False) -> Supervisor:
    return Supervisor(jobs.settings, jobs.sessions, jobs.store, stopping)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.1)


def running(jobs: Jobs, job_id: str) -> bool:
    """Whether the child of a job has begun to train."""
    step: int = (jobs.get(job_id).progress or {}).get("step", 0)
    return step > 0


def meanwhile(jobs: Jobs, job_id: str, action: Callable[[], None]) -> threading.Thread:
    """Act as soon as the job trains, while this thread supervises it."""

    def run() -> None:
        wait_for(lambda: running(jobs, job_id))
        action()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_job_is_encoded_and_its_results_are_published(jobs: Jobs) -> None:
    job_id = jobs.submit(architecture="digits-cnn", dataset=str(DIGITS), hidden_size=32, steps=60)
    supervisor(jobs).run(job_id)
    job = jobs.get(job_id)
    assert (job.status, job.error_message, job.attempt) == (JobStatus.SUCCEEDED, None, 1)
    assert job.metrics is not None
    assert job.metrics["original_accuracy"] == pytest.approx(99, abs=1)
    assert job.artifacts is not None
    for artifact in job.artifacts.values():
        content = jobs.store.path(artifact["sha256"]).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (artifact["sha256"], artifact["bytes"])
    report = json.loads(jobs.store.path(job.artifacts["report.json"]["sha256"]).read_bytes())
    assert report["metrics"] == job.metrics
    assert report["source_sha256"] == job.checkpoint_sha256


def test_both_formats_hold_the_same_weights_named_as_in_the_original(embedded_jobs: Jobs) -> None:
    job_id = embedded_jobs.submit(steps=5, hidden_size=16)
    supervisor(embedded_jobs).run(job_id)
    artifacts = embedded_jobs.get(job_id).artifacts
    assert artifacts is not None
    found = [
        read_checkpoint(embedded_jobs.store.path(artifacts[name]["sha256"])).tensors
        for name in ("weights.safetensors", "weights.pt")
    ]
    original = read_checkpoint(EXAMPLE).tensors
    assert set(found[0]) == set(found[1]) == set(original)
    assert all(torch.equal(found[0][name], found[1][name]) for name in original)
    assert torch.equal(found[0]["classifier.weight"], original["classifier.weight"])


def test_nothing_remains_of_the_folder_that_the_child_worked_in(embedded_jobs: Jobs) -> None:
    supervisor(embedded_jobs).run(embedded_jobs.submit(steps=1, hidden_size=8))
    assert list(embedded_jobs.settings.scratch.iterdir()) == []


def test_a_second_message_for_a_job_does_nothing(embedded_jobs: Jobs) -> None:
    job_id = embedded_jobs.submit(steps=1, hidden_size=8)
    supervisor(embedded_jobs).run(job_id)
    first = embedded_jobs.get(job_id)
    supervisor(embedded_jobs).run(job_id)
    again = embedded_jobs.get(job_id)
    assert (again.attempt, again.finished_at) == (first.attempt, first.finished_at)
    supervisor(embedded_jobs).run("job_that_never_was")


def test_progress_is_written_at_least_every_two_seconds(embedded_jobs: Jobs) -> None:
    job_id = embedded_jobs.submit(architecture="digits-cnn", seconds=8)
    seen: list[tuple[float, int]] = []

    def watch() -> None:
        while embedded_jobs.get(job_id).status != JobStatus.SUCCEEDED:
            step = (embedded_jobs.get(job_id).progress or {}).get("step", 0)
            if step and (not seen or step != seen[-1][1]):
                seen.append((time.monotonic(), step))
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    supervisor(embedded_jobs).run(job_id)
    watcher.join()
    times = [moment for moment, _ in seen]
    assert len(times) >= 4
    assert max(later - earlier for earlier, later in pairwise(times)) < 2


def test_a_canceled_job_stops_and_leaves_no_process(jobs: Jobs) -> None:
    job_id = jobs.submit(**FOREVER)
    thread = meanwhile(jobs, job_id, lambda: jobs.cancel(job_id))
    supervisor(jobs).run(job_id)
    thread.join()
    job = jobs.get(job_id)
    assert (job.status, job.artifacts) == (JobStatus.CANCELED, None)
    assert list(jobs.settings.scratch.iterdir()) == []


def test_a_stopping_worker_gives_its_job_back(jobs: Jobs) -> None:
    job_id = jobs.submit(**FOREVER)
    stop = threading.Event()
    thread = meanwhile(jobs, job_id, stop.set)
    supervisor(jobs, stop.is_set).run(job_id)
    thread.join()
    job = jobs.get(job_id)
    assert (job.status, job.attempt, job.releases, job.progress) == (JobStatus.QUEUED, 1, 1, None)
    assert job.announce_at is not None


def test_a_stopping_worker_passes_on_the_messages_that_still_arrive(embedded_jobs: Jobs) -> None:
    job_id = embedded_jobs.submit()
    supervisor(embedded_jobs, lambda: True).run(job_id)
    job = embedded_jobs.get(job_id)
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 0)
    assert job.announce_at is not None
    assert job.announce_at > job.created_at


def test_a_supervisor_that_has_lost_its_lease_changes_nothing(embedded_jobs: Jobs) -> None:
    job_id = embedded_jobs.submit(**FOREVER)
    thread = meanwhile(embedded_jobs, job_id, lambda: embedded_jobs.take_away(job_id))
    supervisor(embedded_jobs).run(job_id)
    thread.join()
    job = embedded_jobs.get(job_id)
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 1)


def broken(name: str, content: object, tmp_path: Path) -> Path:
    path = tmp_path / name
    torch.save(content, path)
    return path


CONV = {"conv.weight": torch.ones(8, 4, 3, 3)}


@pytest.mark.parametrize(
    ("content", "options", "code", "sentence"),
    [
        ({"fc.weight": torch.ones(4, 4)}, {}, "no_kernels", "no convolution kernel that is worth"),
        ({"conv.weight": torch.full((4, 3, 3, 3), float("nan"))}, {}, "non_finite", "'conv.weight' has 108 NaN"),
        ({"epoch": 3}, {}, "no_tensors", "holds no named tensors"),
        (CONV, {"architecture": "cifar-resnet20"}, "architecture_mismatch", "it has no tensor 'conv1.weight'"),
        (CONV, {"architecture": "torchvision:nothing"}, "unknown_architecture", "has no classifier 'nothing'"),
        (
            "cifar",
            {"architecture": "digits-cnn"},
            "architecture_mismatch",
            "tensor 'features.0.weight' has shape (32, 3, 5, 5), not (32, 3, 3, 3)",
        ),
        (
            "digits",
            {"architecture": "digits-cnn", "dataset": "/no/such/folder"},
            "missing_data",
            "There is no test.npz",
        ),
    ],
)
def test_a_checkpoint_that_cannot_be_encoded_fails_with_one_sentence(
    embedded_jobs: Jobs, tmp_path: Path, content: object, options: dict[str, str], code: str, sentence: str
) -> None:
    if content == "digits":
        path = EXAMPLE
    elif content == "cifar":
        tensors = dict(read_checkpoint(EXAMPLE).tensors) | {"features.0.weight": torch.ones(32, 3, 5, 5)}
        path = broken("w.pt", tensors, tmp_path)
    else:
        path = broken("w.pt", content, tmp_path)
    job_id = embedded_jobs.submit(path, **options)
    supervisor(embedded_jobs).run(job_id)
    job = embedded_jobs.get(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, code)
    assert job.error_message is not None
    assert sentence in job.error_message
    assert "Traceback" not in job.error_message
    assert job.error_message.endswith(".")
    assert "\n" not in job.error_message


def test_a_file_that_only_looks_like_a_checkpoint_fails_with_one_sentence(embedded_jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"PK\x03\x04 and nothing more")
    job_id = embedded_jobs.submit(tmp_path / "w.pt")
    supervisor(embedded_jobs).run(job_id)
    job = embedded_jobs.get(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "unreadable_checkpoint")
