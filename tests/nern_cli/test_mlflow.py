import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.settings import Settings
from nern_client import Client
from tests.conftest import ROOT
from tests.nern_client.conftest import QUICK, fail, listening

if TYPE_CHECKING:
    from mlflow import MlflowClient

NERN = str(Path(sys.executable).with_name("nern"))
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def client(embedded: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of the service set in the environment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NERN_API_KEY", raising=False)
    with listening(embedded) as port:
        monkeypatch.setenv("NERN_URL", f"http://127.0.0.1:{port}")
        with Client(retries=QUICK) as client:
            yield client


@pytest.fixture
def nern(client: Client, tracking: "MlflowClient", tmp_path: Path) -> Run:
    """Run `nern mlflow encode` as a separate process."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [NERN, "mlflow", "encode", *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


@pytest.mark.slow
def test_the_exit_status_says_what_became_of_the_job(
    nern: Run, tracking: "MlflowClient", registered_model: str, client: Client, embedded: Settings
) -> None:
    ended = nern(f"models:/{registered_model}/1", "--steps", "20", "--timeout", "0.1", "--json")
    (job,) = client.jobs.list()
    assert (ended.returncode, ended.stderr) == (5, f"nern: The job {job.id} is still queued; it continues.\n")
    assert json.loads(ended.stdout)["id"] == job.id
    run_id = job.labels["mlflow.run"]
    assert tracking.get_run(run_id).info.status == "RUNNING"
    fail(embedded, job.id)
    ended = nern(f"models:/{registered_model}/1", "--steps", "20")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "", "nern: The job needs more memory than there is.\n")
    assert tracking.get_run(run_id).info.status == "FAILED"


@pytest.mark.slow
def test_what_mlflow_says_is_told_in_one_sentence(nern: Run, registered_model: str) -> None:
    ended = nern(f"models:/{registered_model}/7")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("nern: MLflow: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_mlflow_server_on_this_machine_is_asked_without_a_proxy(
    nern: Run, registered_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    ended = nern(f"models:/{registered_model}/7")
    assert "Model Version (name=" in ended.stderr
    assert "127.0.0.1" not in ended.stderr


@pytest.mark.slow
def test_a_name_that_is_none_is_told_how_to_write_it(nern: Run) -> None:
    ended = nern("digits")
    assert ended.returncode == 2
    assert ended.stderr.startswith("nern: 'digits' is not a reference to MLflow; write models:/NAME/VERSION")


def test_without_mlflow_the_command_says_how_to_install_it() -> None:
    program = (
        "import sys\nsys.modules['mlflow'] = None\nsys.argv = ['nern', 'mlflow', 'encode', 'models:/digits/1']\n"
        "from nern_cli.main import main\nmain()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "nern: The MLflow client is not installed; install it with: pip install 'nern[mlflow]'\n"
