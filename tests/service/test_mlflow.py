"""End to end: a model in MLflow, the command, the service with its worker, a new version in MLflow."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
import safetensors.torch

from app.db.schema import migrate
from app.settings import Settings
from tests.conftest import DIGITS, EXAMPLE, ROOT
from tests.mlflow_server import QUIET, mlflow_server
from tests.processes import NERN, Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# Logs and registers a model like a user: the module, and its state dict beside it.
REGISTER = """
import sys

import mlflow
from safetensors.torch import load_file

from nern_core.networks import build_network, find_architecture

network = build_network(find_architecture("digits-cnn"), load_file(sys.argv[1]))
with mlflow.start_run():
    mlflow.pytorch.log_model(
        network,
        name="model",
        extra_files=[sys.argv[1]],
        registered_model_name="digits",
        serialization_format="pickle",
        pip_requirements=["torch"],
    )
"""


@pytest.fixture
def mlflow(tmp_path: Path) -> Iterator[str]:
    """A server with the example as the first version of the model `digits`."""
    (tmp_path / "mlflow").mkdir()
    with mlflow_server(tmp_path / "mlflow") as url:
        environment = os.environ | QUIET | {"MLFLOW_TRACKING_URI": url, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", REGISTER, str(EXAMPLE)], env=environment, cwd=tmp_path, check=True)
        yield url


@pytest.fixture
def running(mlflow: str, tmp_path: Path) -> Iterator[Service]:
    """An API configured with the server, and a worker."""
    settings = Settings(data_dir=tmp_path / "data", mlflow_tracking_uri=mlflow)
    migrate(settings)
    with ExitStack() as stack:
        service = Service(settings, stack, tmp_path)
        service.start_api()
        service.start_worker()
        yield service


def test_a_registered_model_is_encoded_and_registered_as_another(running: Service, mlflow: str, tmp_path: Path) -> None:
    environment = os.environ | QUIET | {"MLFLOW_TRACKING_URI": mlflow, "NERN_URL": f"http://127.0.0.1:{running.port}"}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    options = ["--architecture", "digits-cnn", "--dataset", str(DIGITS), "--hidden-size", "48", "--steps", "600"]
    command = [NERN, "mlflow", "encode", "models:/digits/1", *options, "--json"]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert (told["model"], told["version"], told["source"]) == ("digits-nern", "1", "models:/digits/1")
    assert told["metrics"]["reconstructed_accuracy"] > 90
    assert told["metrics"]["file_bytes"] < told["metrics"]["source_bytes"]

    run = ask(mlflow, "runs/get", run_id=told["run_id"])["run"]
    assert run["info"]["status"] == "FINISHED"
    assert {"key": "hidden_size", "value": "48"} in run["data"]["params"]
    curve = ask(mlflow, "metrics/get-history", run_id=told["run_id"], metric_key="reconstruction/loss")["metrics"]
    assert curve
    assert all(point["step"] > 0 for point in curve)

    weights = fetch(mlflow, told["run_id"], "nern/weights.safetensors")
    decoded, original = safetensors.torch.load(weights), safetensors.torch.load(EXAMPLE.read_bytes())
    assert {n: (t.shape, t.dtype) for n, t in decoded.items()} == {n: (t.shape, t.dtype) for n, t in original.items()}

    # The result is a model that can be encoded again; this time the service fetches it.
    with httpx2.Client(base_url=f"http://127.0.0.1:{running.port}", timeout=60) as client:
        answer = client.post("/jobs", json={"checkpoint": {"url": "models:/digits-nern/1"}, "options": {"steps": 20}})
    assert answer.status_code == 202, answer.text
    assert answer.json()["checkpoint"]["bytes"] == len(weights)

    again = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout) | {"made": True} == told


def ask(mlflow: str, what: str, **query: str) -> dict[str, Any]:
    """Request a document of MLflow's API."""
    found: dict[str, Any] = httpx2.get(f"{mlflow}/api/2.0/mlflow/{what}", params=query).raise_for_status().json()
    return found


def fetch(mlflow: str, run_id: str, path: str) -> bytes:
    """Download a file like a browser."""
    return httpx2.get(f"{mlflow}/get-artifact", params={"run_id": run_id, "path": path}).raise_for_status().content
