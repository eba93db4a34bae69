"""Experiments on files: kills during an upload and at every step of publishing, and full disks."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from http import HTTPStatus
from pathlib import Path

import httpx2
import pytest
from pydantic import ByteSize
from sqlalchemy import text

from app.settings import Settings
from tests.chaos.checker import judge, stored_files
from tests.chaos.conftest import LEASE, PAUSE, sentence
from tests.chaos.experiment import STEPS, TINY, Experiment, experiment_on
from tests.chaos.history import Unanswered
from tests.chaos.proxy import Direction
from tests.conftest import EXAMPLE, ROOT
from tests.processes import wait_for
from tests.small_disks import fill, needs_mounts, small_disk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PUBLISH = "import sys; from pathlib import Path; from app.storage.folder import FolderStore; "
PUBLISH += "FolderStore(Path(sys.argv[1])).put(Path(sys.argv[2]))"
# A store makes fewer calls of each kind than this for one artifact.
MOST_CALLS = 40


def begin_upload(experiment: Experiment, share: float) -> socket.socket:
    """Send part of a submission, and leave the connection open."""
    request = httpx2.Request("POST", f"{experiment.base}/jobs", files={"checkpoint": EXAMPLE.read_bytes()})
    body = request.read()
    head = f"POST /jobs HTTP/1.1\r\nHost: {request.url.host}\r\n"
    head += "".join(f"{name}: {request.headers[name]}\r\n" for name in ("Content-Type", "Content-Length"))
    connection = socket.create_connection(("127.0.0.1", experiment.port))
    connection.sendall(head.encode() + b"\r\n" + body[: round(len(body) * share)])
    return connection


@pytest.mark.parametrize(
    "share", [pytest.param(0, marks=pytest.mark.chaos), 0.5, pytest.param(1, marks=pytest.mark.chaos)]
)
def test_an_upload_during_which_the_api_is_killed_leaves_no_half_of_anything(
    experiment: Experiment, share: float
) -> None:
    """E10: the API is killed while a checkpoint arrives."""
    api = experiment.start_api()
    with begin_upload(experiment, share):
        if 0 < share < 1:
            wait_for(lambda: list((experiment.settings.artifacts / "incoming").iterdir()), what="nothing arrived")
        experiment.kill(api.pid, "API")
        api.wait()
    experiment.start_api()
    experiment.start_worker()
    experiment.submit(TINY)
    verdict = judge(experiment)
    assert verdict.violations == []
    # A complete upload may have been accepted before the answer was lost, a partial one never.
    assert verdict.jobs in ({1, 2} if share == 1 else {1})


def test_an_api_that_is_killed_between_the_file_and_the_row_has_accepted_nothing(experiment: Experiment) -> None:
    """E10: the API is killed after the rename and before the commit."""
    api = experiment.start_api()
    experiment.backends.to_postgres.swallow(Direction.BOTH)
    with begin_upload(experiment, 1):
        wait_for(lambda: stored_files(experiment.settings.artifacts), what="the file did not come to its place")
        experiment.kill(api.pid, "API")
        api.wait()
    experiment.backends.to_postgres.heal()
    experiment.start_api()
    assert experiment.jobs() == []
    experiment.start_worker()
    experiment.submit(TINY)
    verdict = judge(experiment)
    assert verdict.violations == []
    assert verdict.outcomes == {"succeeded": 1}


def can_trace() -> bool:
    """Return true if strace is installed and works here."""
    strace = shutil.which("strace")
    if strace is None:
        return False
    return subprocess.run([strace, "-qq", "true"], capture_output=True, check=False).returncode == 0


def publish_under_strace(store: Path, source: Path, call: str, action: str) -> int:
    """Store a file in a separate process with an injected fault; return its exit status."""
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{action}"]
    command += [os.path.realpath(sys.executable), "-c", PUBLISH, str(store), str(source)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    return subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True).returncode


@pytest.mark.skipif(not can_trace(), reason="strace is not installed or may not trace")
@pytest.mark.parametrize("call", ["rename", "fsync", "fchmod", "write"])
def test_a_kill_at_any_call_of_publishing_leaves_a_whole_file_or_none(tmp_path: Path, call: str) -> None:
    """E3: the process is killed at each rename, fsync, fchmod and write of publishing, one after the other."""
    digest = hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()
    for number in range(1, MOST_CALLS):
        folder = tmp_path / str(number)
        folder.mkdir()
        status = publish_under_strace(folder, EXAMPLE, call, f"signal=SIGKILL:when={number}")
        files = stored_files(folder)
        assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in files] == [path.name for path in files]
        if status == 0:
            assert [path.name for path in files] == [digest]
            assert number > 1
            return
    pytest.fail("publishing did not come to an end")


@pytest.mark.alone
@needs_mounts
def test_a_full_disk_refuses_uploads_and_loses_nothing(embedded_experiment: Experiment) -> None:
    """E11: the disk of the artifacts is full while jobs are submitted and run; then there is room again."""
    experiment = embedded_experiment
    disk = experiment.folder / "disk"
    experiment.settings = experiment.settings.model_copy(
        update={"artifact_dir": disk / "artifacts", "disk_reserve": ByteSize(2**20)}
    )
    with small_disk(disk):
        experiment.start_api()
        experiment.start_worker()
        experiment.training(experiment.submit(STEPS | {"steps": 300}))
        ballast = fill(disk)
        experiment.faults["full disk"] += 1
        with pytest.raises(Unanswered):
            experiment.submit(TINY)
        assert experiment.history.read("submit", "unknown")[0]["status"] == HTTPStatus.INSUFFICIENT_STORAGE
        assert httpx2.get(f"{experiment.base}/livez", timeout=5).is_success
        wait_for(lambda: "waiting_for_storage" in experiment.log("worker"), 60, "the job did not wait for room")
        ballast.unlink()
        experiment.submit(TINY)
        verdict = judge(experiment)
        assert verdict.violations == []
        assert verdict.outcomes == {"succeeded": 2}
        assert verdict.attempts == 2
        experiment.close()


@pytest.mark.alone
@needs_mounts
def test_a_full_data_folder_costs_no_job(request: pytest.FixtureRequest, tmp_path: Path, scale: int) -> None:
    """E21: the data folder of `nern serve` is full for several leases, while one job trains and others wait."""
    disk = tmp_path / "disk"
    settings = Settings(data_dir=disk / "data", lease=LEASE, announce_pause=PAUSE, disk_reserve=ByteSize(2**20))
    with small_disk(disk, "128m"), experiment_on(sentence(request), settings, tmp_path) as experiment:
        experiment.start_api()
        experiment.start_worker()
        first = experiment.submit(STEPS | {"steps": 300})
        for _ in range(2 * scale):
            experiment.submit(TINY)
        experiment.training(first)
        ballast = fill(disk)
        experiment.faults["full data folder"] += 1
        time.sleep(3 * LEASE.total_seconds() * scale)
        ballast.unlink()
        verdict = judge(experiment, 300)
        assert verdict.violations == []
        assert verdict.outcomes == {"succeeded": verdict.jobs}
        with experiment.engine.connect() as connection:
            tries = connection.execute(text("SELECT DISTINCT attempt - releases FROM jobs")).scalars().all()
        assert tries == [1]
        experiment.close()


@pytest.mark.alone
@needs_mounts
def test_a_worker_with_a_full_disk_leaves_the_jobs_to_a_healthy_one(experiment: Experiment, scale: int) -> None:
    """E22: beside a healthy worker is one that would fail every job at once, since it has no room to work in."""
    experiment.start_api()
    sound, disk = experiment.settings, experiment.folder / "full"
    with small_disk(disk, "256k"):
        experiment.settings = sound.model_copy(update={"scratch_dir": disk})
        experiment.start_worker()
        experiment.settings = sound
        experiment.faults["full scratch folder"] += 1
        for _ in range(4 * scale):
            experiment.submit(TINY)
        wait_for(lambda: "worker_unfit" in experiment.log("worker"), 60, "no job has met the full disk")
        experiment.start_worker()
        verdict = judge(experiment, 300)
        assert verdict.violations == []
        assert verdict.outcomes == {"succeeded": verdict.jobs}
        assert verdict.attempts == verdict.jobs
        experiment.close()
