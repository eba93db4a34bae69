import json
import os
import subprocess
from pathlib import Path

import pytest

from nern_client import Client, JobFailed, JobStatus
from tests.conftest import DIGITS, EXAMPLE, ROOT
from tests.processes import NERN, Service, free_port, process, wait_for
from tests.shared_service import SharedService, Tenant


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("first_job")
def test_the_client_submits_follows_and_downloads(shared: SharedService, tenant: Tenant, tmp_path: Path) -> None:
    told: list[JobStatus] = []
    dataset = str(DIGITS) if shared.settings.embedded else DIGITS.name
    with Client(f"http://127.0.0.1:{shared.port}", tenant.key) as client:
        job = client.jobs.create(EXAMPLE, architecture="digits-cnn", dataset=dataset, hidden_size=16, steps=20)
        job = client.jobs.wait(job.id, on_update=lambda job: told.append(job.status), timeout=300)
        assert job.metrics is not None
        assert job.metrics["original_accuracy"] > 95
        assert told[0] in {JobStatus.QUEUED, JobStatus.RUNNING}
        assert told[-1] is JobStatus.SUCCEEDED
        for name, artifact in job.artifacts.items():
            assert client.jobs.download(job.id, name, tmp_path / name).stat().st_size == artifact.bytes
        wrong = client.jobs.create(EXAMPLE, target_bytes=100, steps=1)
        with pytest.raises(JobFailed, match="bytes"):
            client.jobs.wait(wrong.id, timeout=300)


@pytest.mark.slow
def test_the_command_submits_waits_and_downloads_across_a_restart_of_the_api(service: Service, tmp_path: Path) -> None:
    api = service.start_api()
    service.start_worker()
    weights = tmp_path / "weights.safetensors"
    submit = [NERN, "submit", str(EXAMPLE), "--architecture", "digits-cnn", "--seconds", "8", "--hidden-size", "16"]
    env = os.environ | {"NERN_URL": f"http://127.0.0.1:{service.port}", "PYTHONPATH": str(ROOT)}
    waiting = subprocess.Popen([*submit, "-o", str(weights), "--json"], env=env, stdout=subprocess.PIPE, text=True)
    [job] = wait_for(lambda: service.client.get("/jobs")["items"])
    service.client.training(job["links"]["self"])
    api.kill()
    api.wait()
    service.start_api()
    out, _ = waiting.communicate(timeout=120)
    assert waiting.returncode == 0
    ended = json.loads(out)
    assert (ended["id"], ended["status"]) == (job["id"], "succeeded")
    assert weights.stat().st_size == ended["artifacts"]["weights.safetensors"]["bytes"]
    assert len(service.client.get("/jobs")["items"]) == 1


@pytest.mark.slow
def test_the_commands_of_a_job_work_with_nern_serve(tmp_path: Path) -> None:
    port = free_port()
    outside = {name: value for name, value in os.environ.items() if not name.startswith("NERN_")}
    env = outside | {"NERN_URL": f"http://127.0.0.1:{port}", "PYTHONPATH": str(ROOT)}

    def nern(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [NERN, *arguments]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    missing = nern("jobs", "list")
    assert (missing.returncode, missing.stdout) == (6, "")
    assert "Start a service with `nern serve`" in missing.stderr
    with process([NERN, "serve", "--port", str(port)], env, tmp_path / "log", tmp_path):
        wait_for(lambda: nern("jobs", "list").returncode == 0)
        job_id = nern("submit", str(EXAMPLE), "--steps", "20", "--hidden-size", "16").stdout.strip()
        assert nern("jobs", "watch", job_id).returncode == 0
        assert nern("download", job_id, "encoding.nern").stdout.startswith("encoding.nern: ")
        assert nern("inspect", "encoding.nern", "--json").returncode == 0
        assert nern("jobs", "delete", job_id).returncode == 0
        assert nern("jobs", "watch", job_id).returncode == 1
