"""Jobs with the real runner: it encodes, resumes, reconstructs and fails through a supervisor."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from app.db.schema import migrate
from app.jobs.models import Job, JobStatus
from app.jobs.snapshots.store import SnapshotFolder
from app.settings import Settings
from nern_core.decoder import decode
from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import DIGITS, EXAMPLE, ROOT
from tests.dataset_files import digits_file
from tests.encoding_files import changed
from tests.hub_folders import make_folder, zipped
from tests.transformers_folders import BERT, folder_of, network_of
from tests.worker.conftest import Jobs
from tests.worker.supervision import nothing
from worker.child import RunnerStarter
from worker.folder import RunFolder
from worker.supervisor import Supervisor

GOLDEN = ROOT / "tests" / "golden" / "quantized-v4.nern"
LONG: dict[str, Any] = {"architecture": "digits-cnn", "dataset": str(DIGITS), "hidden_size": 32, "steps": 250}


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> RunnerStarter:
    """The real one; its caches are filled before the first job."""
    starter = RunnerStarter()
    folder = RunFolder(tmp_path_factory.mktemp("prepared"))
    starter.prepare(folder, nothing)
    assert {path.name for path in folder.caches.iterdir()} == {"numba", "matplotlib"}
    return starter


def run(jobs: Jobs, starter: RunnerStarter, job_id: str, stopping: Callable[[], bool] = lambda: False) -> Job:
    Supervisor(jobs.settings, jobs.sessions, jobs.store, stopping, starter=starter).run(job_id)
    return jobs.get(job_id)


@pytest.fixture
def frequent_jobs(embedded: Settings) -> Iterator[Jobs]:
    """Jobs with very frequent snapshots."""
    settings = embedded.model_copy(update={"snapshot_interval": timedelta(seconds=0.1)})
    migrate(settings)
    jobs = Jobs(settings)
    yield jobs
    jobs.close()


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


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.1)


def meanwhile(
    jobs: Jobs, job_id: str, action: Callable[[], None], when: Callable[[], bool] | None = None
) -> threading.Thread:
    """Run `action` in a thread as soon as the job trains, or `when` returns true."""

    def act() -> None:
        wait_for(when or (lambda: (jobs.get(job_id).progress or {}).get("step", 0) > 0))
        action()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def processes_of(job_id: str) -> list[int]:
    """Return the processes that work in the folder of a job, found by their command lines."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"/{job_id}-".encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.mark.slow
@pytest.mark.gate
def test_a_job_is_encoded_and_its_results_are_published(embedded_jobs: Jobs, starter: RunnerStarter) -> None:
    jobs = embedded_jobs
    job_id = jobs.submit(architecture="digits-cnn", dataset=str(DIGITS), hidden_size=32, steps=60)
    job = run(jobs, starter, job_id)
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
    # Both formats hold the same weights, named as in the original.
    found = [
        read_checkpoint(jobs.folder.path(job.artifacts[name]["sha256"])).tensors
        for name in ("weights.safetensors", "weights.pt")
    ]
    original = read_checkpoint(EXAMPLE).tensors
    assert set(found[0]) == set(found[1]) == set(original)
    assert all(torch.equal(found[0][name], found[1][name]) for name in original)
    assert torch.equal(found[0]["classifier.weight"], original["classifier.weight"])


@pytest.mark.slow
def test_a_job_with_an_uploaded_data_set_gives_the_same_weights_as_one_with_the_same_folder(
    embedded_jobs: Jobs, starter: RunnerStarter, tmp_path: Path
) -> None:
    jobs = embedded_jobs
    (tmp_path / "digits").write_bytes(digits_file())
    options: dict[str, Any] = {"architecture": "digits-cnn", "hidden_size": 32, "steps": 60, "seed": 5}
    uploaded = run(jobs, starter, jobs.submit(dataset_file=tmp_path / "digits", dataset="mine", **options))
    in_folder = run(jobs, starter, jobs.submit(dataset=str(DIGITS), **options))
    assert (uploaded.status, uploaded.error_message) == (JobStatus.SUCCEEDED, None)
    assert uploaded.artifacts is not None
    assert in_folder.artifacts is not None
    assert uploaded.artifacts["weights.safetensors"] == in_folder.artifacts["weights.safetensors"]
    report = json.loads(jobs.folder.path(uploaded.artifacts["report.json"]["sha256"]).read_bytes())
    assert report["options"]["dataset"] == "mine"
    assert report["metrics"]["reconstructed_accuracy"] is not None


@pytest.mark.slow
def test_the_network_of_an_archive_is_built_in_the_sandbox(
    embedded_jobs: Jobs, starter: RunnerStarter, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "bert", network_of(BERT), BERT)
    safetensors.torch.save_file({"inputs.input_ids": torch.arange(256).reshape(32, 8) % 32}, tmp_path / "ids")
    options: dict[str, Any] = {"architecture": "transformers:auto", "steps": 2, "target_ratio": 6}
    job_id = embedded_jobs.submit(zipped(folder), dataset_file=tmp_path / "ids", dataset="mine", **options)
    job = run(embedded_jobs, starter, job_id)
    assert (job.status, job.error_message) == (JobStatus.SUCCEEDED, None)
    assert job.metrics is not None
    assert len(job.metrics["fidelity"]["outputs"]) == 2


@pytest.mark.alone
@pytest.mark.slow
def test_progress_is_written_at_least_every_two_seconds(embedded_jobs: Jobs, starter: RunnerStarter) -> None:
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
    run(embedded_jobs, starter, job_id)
    watcher.join()
    times = [moment for moment, _ in seen]
    assert len(times) >= 4
    assert max(later - earlier for earlier, later in pairwise(times)) < 2


def test_a_canceled_job_stops_and_leaves_no_process(embedded_jobs: Jobs, starter: RunnerStarter) -> None:
    job_id = embedded_jobs.submit(architecture="digits-cnn", representation="predictor", seconds=600)
    processes: list[int] = []

    def cancel() -> None:
        processes.extend(processes_of(job_id))
        embedded_jobs.cancel(job_id)

    thread = meanwhile(embedded_jobs, job_id, cancel)
    job = run(embedded_jobs, starter, job_id)
    thread.join()
    assert (job.status, job.artifacts) == (JobStatus.CANCELED, None)
    assert (len(processes), processes_of(job_id)) == (1, [])


@pytest.mark.slow
def test_a_job_resumes_where_a_stopping_worker_left_it(embedded_jobs: Jobs, starter: RunnerStarter) -> None:
    jobs = embedded_jobs
    whole, stopped = jobs.submit(**LONG), jobs.submit(**LONG)
    run(jobs, starter, whole)
    stop = threading.Event()
    thread = meanwhile(jobs, stopped, stop.set)
    assert run(jobs, starter, stopped, stop.is_set).snapshots is not None
    thread.join()
    assert run(jobs, starter, stopped).attempt == 2
    assert encoding_of(jobs, stopped) == encoding_of(jobs, whole)
    assert steps_of(jobs, stopped) == steps_of(jobs, whole)


@pytest.mark.slow
def test_a_job_resumes_from_the_last_snapshot_of_a_lost_worker(frequent_jobs: Jobs, starter: RunnerStarter) -> None:
    jobs = frequent_jobs
    whole, lost = jobs.submit(**LONG), jobs.submit(**LONG)
    run(jobs, starter, whole)
    thread = meanwhile(jobs, lost, lambda: jobs.take_away(lost), when=lambda: bool(jobs.get(lost).snapshots))
    assert run(jobs, starter, lost).snapshots
    thread.join()
    starts: list[float] = []
    thread = meanwhile(jobs, lost, lambda: starts.append((jobs.get(lost).progress or {})["fraction"]))
    run(jobs, starter, lost)
    thread.join()
    # An encoding from scratch reports its first step as 0.0518.
    assert starts[0] > 0.0525
    assert encoding_of(jobs, lost) == encoding_of(jobs, whole)
    assert jobs.get(lost).snapshots is None
    assert SnapshotFolder(jobs.settings.snapshots).jobs() == []


def test_a_missing_data_set_fails_the_job_with_one_sentence(embedded_jobs: Jobs, starter: RunnerStarter) -> None:
    """The sandbox is prepared for a folder that does not exist."""
    job_id = embedded_jobs.submit(architecture="digits-cnn", dataset="/no/such/folder")
    job = run(embedded_jobs, starter, job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "missing_data")
    assert job.error_message is not None
    assert job.error_message.startswith(
        "There is no folder or file '/no/such/folder'. A data set is a folder of images,"
    )


def test_the_weights_of_an_encoding_are_published_in_both_formats(embedded_jobs: Jobs, starter: RunnerStarter) -> None:
    job = run(embedded_jobs, starter, embedded_jobs.submit_encoding(GOLDEN))
    assert (job.status, job.error_message, job.metrics) == (JobStatus.SUCCEEDED, None, None)
    assert job.artifacts is not None
    assert set(job.artifacts) == {"weights.safetensors", "weights.pt"}
    expected = read_checkpoint(GOLDEN.with_suffix(".safetensors")).tensors
    for artifact in job.artifacts.values():
        found = read_checkpoint(embedded_jobs.folder.path(artifact["sha256"])).tensors
        assert set(found) == set(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert list(embedded_jobs.settings.scratch.iterdir()) == []


def test_a_hostile_encoding_fails_its_job_with_one_sentence(
    embedded_jobs: Jobs, starter: RunnerStarter, tmp_path: Path
) -> None:
    job_id = embedded_jobs.submit_encoding(changed(GOLDEN, tmp_path / "hostile.nern", None))
    job = run(embedded_jobs, starter, job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "bad_encoding")
    assert job.error_message is not None
    assert "its document cannot be read" in job.error_message


def test_an_archive_of_a_folder_of_the_hub_is_encoded(
    embedded_jobs: Jobs, starter: RunnerStarter, tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(64, 64, generator=generator) for name in ("a.weight", "b.weight")}
    folder = make_folder(tmp_path / "net", tensors, shards=2, config={"hidden_size": 64})
    job = run(embedded_jobs, starter, embedded_jobs.submit(zipped(folder)))
    assert job.artifacts is not None, job.error_message
    (tmp_path / "x.nern").write_bytes(embedded_jobs.folder.path(job.artifacts["encoding.nern"]["sha256"]).read_bytes())
    decoded = decode(tmp_path / "x.nern")
    assert (list(decoded.tensors), decoded.config) == (["a.weight", "b.weight"], {"hidden_size": 64})
