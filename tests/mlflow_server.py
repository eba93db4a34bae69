"""A real MLflow server (SQLite, artifacts served by itself) as a separate process, and models in it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

if TYPE_CHECKING:
    from mlflow import MlflowClient

# No telemetry, and no processes besides the server.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_SECONDS_TO_START = 120
_DEFAULT_EXPERIMENT = "0"


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run a server and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")]
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=folder, env=os.environ | QUIET, stdout=output, stderr=output, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + _SECONDS_TO_START
        while not _answers(url):
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health").is_success
    except httpx2.TransportError:
        return False


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for all tests of a session; each test uses its own models."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture
def tracking(mlflow_url: str, monkeypatch: pytest.MonkeyPatch) -> "MlflowClient":
    """A client of the server, which is also the default server of this process."""
    for name, value in (QUIET | {"MLFLOW_TRACKING_URI": mlflow_url}).items():
        monkeypatch.setenv(name, value)
    from mlflow import MlflowClient, set_tracking_uri

    set_tracking_uri(mlflow_url)
    return MlflowClient()


def register(tracking: "MlflowClient", model: str, file: Path) -> str:
    """Log a file as an artifact in the folder `checkpoint` of a new run, register it, and return the run's id."""
    run = tracking.create_run(_DEFAULT_EXPERIMENT)
    run_id: str = run.info.run_id
    tracking.log_artifact(run_id, str(file), "checkpoint")
    tracking.set_terminated(run_id)
    tracking.create_registered_model(model)
    tracking.create_model_version(model, f"{run.info.artifact_uri}/checkpoint", run_id=run_id)
    return run_id


def log_model(tracking: "MlflowClient", name: str, file: Path) -> str:
    """Log a model as in MLflow 3, with a file in `extra_files`; return its id."""
    folder = file.parent / "logged"
    (folder / "extra_files").mkdir(parents=True)
    shutil.copy(file, folder / "extra_files")
    model = tracking.create_logged_model(_DEFAULT_EXPERIMENT, name=name)
    model_id: str = model.model_id
    tracking.log_model_artifacts(model_id, str(folder))
    tracking.finalize_logged_model(model_id, "READY")
    return model_id


@pytest.fixture
def registered_model(tracking: "MlflowClient", tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The name of a model for this test, whose first version is the example as `model.safetensors`."""
    from tests.conftest import EXAMPLE

    name: str = request.node.name
    register(tracking, name, Path(shutil.copy(EXAMPLE, tmp_path / "model.safetensors")))
    return name
