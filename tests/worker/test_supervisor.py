import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ByteSize
from sqlalchemy.exc import OperationalError

from app.db.engine import migrate
from app.jobs.models import JobStatus
from app.jobs.repository import JobRepository
from app.jobs.snapshots.store import SnapshotFolder
from app.settings import Settings
from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import DIGITS, EXAMPLE
from tests.dataset_files import SMALL, digits_file, safetensors_file
from tests.worker.conftest import Jobs
from worker.folder import RunFolder
from worker.supervisor import Supervisor

FOREVER: dict[str, Any] = {"architecture": "digits-cnn", "representation": "predictor", "seconds": 600}


LONG: dict[str, Any] = {"architecture": "digits-cnn", "dataset": str(DIGITS), "hidden_size": 32, "steps": 250}


@pytest.fixture
def frequent_jobs(embedded: Settings) -> Iterator[Jobs]:
    """Jobs with very frequent snapshots."""
    settings = embedded.model_copy(update={"snapshot_interval": timedelta(seconds=0.1)})
    migrate(settings)
    jobs = Jobs(settings)
    yield jobs
    jobs.close()


def supervisor_with(jobs: Jobs, **changes: Any) -> Supervisor:
    """Return a supervisor with other settings."""
    return Supervisor(jobs.settings.model_copy(update=changes), jobs.sessions, jobs.store, lambda: False)


def encoding_of(jobs: Jobs, job_id: str) -> str:
    """Return the digest of a job's encoding."""
    job = jobs.get(job_id)
    assert job.artifacts is not None, job.error_message
    digest: str = job.artifacts["encoding.nern"]["sha256"]
    return digest


def steps_of(jobs: Jobs, job_id: str) -> dict[str, int]:
    """Return the steps of each phase in the report."""
    artifacts = jobs.get(job_id).artifacts
    assert artifacts is not None
    report = json.loads(jobs.folder.path(artifacts["report.json"]["sha256"]).read_bytes())
    return {point["phase"]: point["step"] for point in report["curve"]}


def supervisor(jobs: Jobs, stopping: Callable[[], bool] = lambda: False) -> Supervisor:
    return Supervisor(jobs.settings, jobs.sessions, jobs.store, stopping)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.1)


def running(jobs: Jobs, job_id: str) -> bool:
    """Return true if the child of a job has begun to train."""
    step: int = (jobs.get(job_id).progress or {}).get("step", 0)
    return step > 0


def kill_runner(job_id: str) -> None:
    """Kill the process that encodes a job, found by the folder in its command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"/{job_id}-".encode() in (folder / "cmdline").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)


def meanwhile(
    jobs: Jobs, job_id: str, action: Callable[[], None], when: Callable[[], bool] | None = None
) -> threading.Thread:
    """Run `action` in a thread as soon as the job trains, or `when` returns true."""

    def run() -> None:
        wait_for(when or (lambda: running(jobs, job_id)))
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
        content = jobs.folder.path(artifact["sha256"]).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (artifact["sha256"], artifact["bytes"])
    report = json.loads(jobs.folder.path(job.artifacts["report.json"]["sha256"]).read_bytes())
    # The report is written before it is published.
    assert report["metrics"] | {"seconds": {}} == job.metrics | {"seconds": {}}
    assert job.metrics["seconds"].keys() - report["metrics"]["seconds"].keys() == {"publication"}
    assert report["source_sha256"] == job.checkpoint_sha256


def test_a_job_with_an_uploaded_data_set_gives_what_one_with_the_same_folder_does(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "digits").write_bytes(digits_file())
    options: dict[str, Any] = {"architecture": "digits-cnn", "hidden_size": 32, "steps": 60, "seed": 5}
    ids = [
        jobs.submit(dataset_file=tmp_path / "digits", dataset="mine", **options),
        jobs.submit(dataset=str(DIGITS), **options),
    ]
    for job_id in ids:
        supervisor(jobs).run(job_id)
    uploaded, in_folder = (jobs.get(job_id) for job_id in ids)
    assert (uploaded.status, uploaded.error_message) == (JobStatus.SUCCEEDED, None)
    assert uploaded.artifacts is not None
    assert in_folder.artifacts is not None
    assert uploaded.artifacts["weights.safetensors"] == in_folder.artifacts["weights.safetensors"]
    report = json.loads(jobs.folder.path(uploaded.artifacts["report.json"]["sha256"]).read_bytes())
    assert report["options"]["dataset"] == "mine"
    assert report["metrics"]["reconstructed_accuracy"] is not None


def test_a_job_whose_data_set_the_disk_has_lost_fails(embedded_jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "digits").write_bytes(digits_file())
    job_id = embedded_jobs.submit(dataset_file=tmp_path / "digits", architecture="digits-cnn", dataset="mine")
    digest = embedded_jobs.get(job_id).dataset_sha256
    assert digest is not None
    embedded_jobs.folder.path(digest).unlink()
    supervisor(embedded_jobs).run(job_id)
    job = embedded_jobs.get(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "damaged_checkpoint")
    assert job.error_message == "The store lost or damaged the uploaded file or the data set; upload it again."


def test_labels_that_the_network_does_not_know_fail_the_job(embedded_jobs: Jobs, tmp_path: Path) -> None:
    claims = SMALL | {"train.images": ("U8", (3, 8, 8, 3)), "test.images": ("U8", (2, 8, 8, 3))}
    data = bytes(3 * 192 + 3 * 8 + 2 * 192) + (10).to_bytes(8, "little") + (-1).to_bytes(8, "little", signed=True)
    (tmp_path / "odd").write_bytes(safetensors_file(claims, data=data))
    job_id = embedded_jobs.submit(
        dataset_file=tmp_path / "odd", architecture="digits-cnn", dataset="odd", steps=1, hidden_size=8
    )
    supervisor(embedded_jobs).run(job_id)
    assert embedded_jobs.get(job_id).error_code == "bad_data"


def test_both_formats_hold_the_same_weights_named_as_in_the_original(embedded_jobs: Jobs) -> None:
    job_id = embedded_jobs.submit(steps=5, hidden_size=16)
    supervisor(embedded_jobs).run(job_id)
    artifacts = embedded_jobs.get(job_id).artifacts
    assert artifacts is not None
    found = [
        read_checkpoint(embedded_jobs.folder.path(artifacts[name]["sha256"])).tensors
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


@pytest.mark.alone
@pytest.mark.slow
def test_progress_is_written_at_least_every_two_seconds(embedded_jobs: Jobs) -> None:
    job_id = embedded_jobs.submit(architecture="digits-cnn", representation="predictor", seconds=8)
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


@pytest.mark.slow
def test_a_job_goes_on_where_a_stopping_worker_left_it(embedded_jobs: Jobs) -> None:
    jobs = embedded_jobs
    whole, stopped = jobs.submit(**LONG), jobs.submit(**LONG)
    supervisor(jobs).run(whole)
    stop = threading.Event()
    thread = meanwhile(jobs, stopped, stop.set)
    supervisor(jobs, stop.is_set).run(stopped)
    thread.join()
    assert jobs.get(stopped).snapshots is not None
    supervisor(jobs).run(stopped)
    assert encoding_of(jobs, stopped) == encoding_of(jobs, whole)
    assert steps_of(jobs, stopped) == steps_of(jobs, whole)
    assert jobs.get(stopped).attempt == 2


@pytest.mark.slow
def test_a_job_goes_on_from_the_last_snapshot_of_a_lost_worker(frequent_jobs: Jobs) -> None:
    jobs = frequent_jobs
    whole, lost = jobs.submit(**LONG), jobs.submit(**LONG)
    supervisor(jobs).run(whole)
    thread = meanwhile(jobs, lost, lambda: jobs.take_away(lost), when=lambda: bool(jobs.get(lost).snapshots))
    supervisor(jobs).run(lost)
    thread.join()
    before = jobs.get(lost).snapshots
    assert before
    starts: list[float] = []
    thread = meanwhile(jobs, lost, lambda: starts.append((jobs.get(lost).progress or {})["fraction"]))
    supervisor(jobs).run(lost)
    thread.join()
    # An encoding from scratch reports its first step as 0.0518.
    assert starts[0] > 0.0525
    assert encoding_of(jobs, lost) == encoding_of(jobs, whole)
    assert jobs.get(lost).snapshots is None
    assert SnapshotFolder(jobs.settings.snapshots).jobs() == []


def test_a_damaged_snapshot_is_not_used(frequent_jobs: Jobs) -> None:
    jobs = frequent_jobs
    job_id = jobs.submit(**LONG)
    thread = meanwhile(jobs, job_id, lambda: jobs.take_away(job_id), when=lambda: bool(jobs.get(job_id).snapshots))
    supervisor(jobs).run(job_id)
    thread.join()
    for path in jobs.settings.snapshots.rglob("stage-*"):
        path.write_bytes(b"damaged")
    supervisor(jobs).run(job_id)
    assert jobs.get(job_id).status == JobStatus.SUCCEEDED


def test_a_job_whose_runner_is_killed_goes_on_from_its_last_snapshot(frequent_jobs: Jobs) -> None:
    jobs = frequent_jobs
    whole, killed = jobs.submit(**LONG), jobs.submit(**LONG)
    supervisor(jobs).run(whole)
    thread = meanwhile(jobs, killed, lambda: kill_runner(killed), when=lambda: bool(jobs.get(killed).snapshots))
    supervisor(jobs).run(killed)
    thread.join()
    job = jobs.get(killed)
    assert (job.status, job.attempt, job.releases) == (JobStatus.QUEUED, 1, 0)
    supervisor(jobs).run(killed)
    assert encoding_of(jobs, killed) == encoding_of(jobs, whole)


def test_a_job_whose_runner_is_killed_again_and_again_fails(embedded_jobs: Jobs) -> None:
    job_id = embedded_jobs.submit(**FOREVER)
    thread = meanwhile(embedded_jobs, job_id, lambda: kill_runner(job_id))
    supervisor_with(embedded_jobs, max_attempts=1).run(job_id)
    thread.join()
    job = embedded_jobs.get(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "killed")


def test_a_job_that_takes_too_much_memory_is_stopped(embedded_jobs: Jobs) -> None:
    job_id = embedded_jobs.submit(**FOREVER)
    supervisor_with(embedded_jobs, job_memory=ByteSize(250 * 2**20)).run(job_id)
    job = embedded_jobs.get(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "out_of_memory")
    assert "memory" in (job.error_message or "")


def test_a_job_that_runs_for_too_long_is_stopped(embedded_jobs: Jobs) -> None:
    job_id = embedded_jobs.submit(**FOREVER)
    supervisor_with(embedded_jobs, job_deadline=timedelta(seconds=3)).run(job_id)
    job = embedded_jobs.get(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "deadline_exceeded")
    assert job.error_message == (
        "The job ran longer than the 3 seconds allowed here; encode with fewer `steps` or `seconds`."
    )


def test_a_job_that_still_runs_when_its_own_deadline_is_over_is_stopped(embedded_jobs: Jobs) -> None:
    job_id = embedded_jobs.submit(deadline=timedelta(seconds=3), **FOREVER)
    supervisor(embedded_jobs).run(job_id)
    job = embedded_jobs.get(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "deadline_exceeded")
    assert job.error_message == "The job was still running when its deadline passed."


def test_what_became_of_a_job_is_written_when_the_database_is_back(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeed, failures = JobRepository.succeed, iter(range(2))

    def unreliable(*arguments: Any) -> bool:
        if next(failures, None) is not None:
            raise OperationalError("statement", {}, Exception("the server is gone"))
        return succeed(*arguments)

    monkeypatch.setattr(JobRepository, "succeed", unreliable)
    job_id = embedded_jobs.submit(steps=1, hidden_size=8)
    supervisor(embedded_jobs).run(job_id)
    assert embedded_jobs.get(job_id).status == JobStatus.SUCCEEDED


def test_links_are_no_results(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = embedded_jobs.settings.data_dir / "secret"
    secret.write_text("secret")
    supervise = Supervisor._supervise

    def hostile(self: Supervisor, folder: RunFolder, *arguments: Any) -> Any:
        outcome = supervise(self, folder, *arguments)
        folder.result("weights.pt").unlink()
        folder.result("weights.pt").symlink_to(secret)
        return outcome

    monkeypatch.setattr(Supervisor, "_supervise", hostile)
    job_id = embedded_jobs.submit(steps=1, hidden_size=8)
    supervisor(embedded_jobs).run(job_id)
    job = embedded_jobs.get(job_id)
    assert (job.status, job.error_code, job.artifacts) == (JobStatus.FAILED, "internal_error", None)


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
        ({"fc.bias": torch.ones(4)}, {}, "no_kernels", "no floating-point tensor of two or more axes"),
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
            "There is no folder or file '/no/such/folder'; `dataset` is a folder with test.npz.",
        ),
    ],
)
def test_a_checkpoint_that_cannot_be_encoded_fails_with_one_sentence(
    embedded_jobs: Jobs, tmp_path: Path, content: object, options: dict[str, Any], code: str, sentence: str
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
