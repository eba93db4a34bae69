"""The example of a package that adds an architecture, on the command line and in the service."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from worker.caches import Caches
from worker.child import runner_environment
from worker.folder import RunFolder

pytestmark = pytest.mark.slow

CALLS_OF_THE_SERVICE = """
import json, sys
from app.settings import Settings
from tests.app.conftest import serving

with serving(Settings()) as client:
    names = [item["name"] for item in client.get("/architectures").json()["items"]]
    accepted = []
    for architecture in ("acme:tagger", "acme_networks:tagger", "./acme_networks.py:tagger"):
        form = {"options": json.dumps({"architecture": architecture})}
        answer = client.post("/jobs", data=form, files={"checkpoint": open(sys.argv[1], "rb")})
        accepted.append(answer.status_code)
    print(json.dumps(["acme:tagger" in names, accepted]))
"""
WRITE_WEIGHTS = "import sys, torch, acme_networks; torch.save(acme_networks.tagger().state_dict(), sys.argv[1])"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that has the package installed."""
    source, site = tmp_path / "source", tmp_path / "site"
    # A copy, because building leaves files beside the source.
    subprocess.run(["cp", "-r", ROOT / "examples" / "acme_networks", source], check=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", site, source], check=True)
    return os.environ | {"PYTHONPATH": str(site), "NERN_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def weights(tmp_path: Path, environment: dict[str, str]) -> Path:
    path = tmp_path / "weights.pt"
    subprocess.run([sys.executable, "-c", WRITE_WEIGHTS, path], env=environment, check=True)
    return path


def nern(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("nern")), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_its_network_is_distilled_on_arrays_by_the_command(
    tmp_path: Path, environment: dict[str, str], weights: Path
) -> None:
    ids = np.random.default_rng(0).integers(0, 1000, (640, 12))
    np.savez(tmp_path / "data.npz", **{"inputs.ids": ids})  # type: ignore[arg-type] # its annotation has no names
    encoding = tmp_path / "x.nern"
    options = ("--architecture", "acme:tagger", "--dataset", tmp_path / "data.npz", "--steps", 20, "--json")
    encoded = nern(environment, "encode", weights, "-o", encoding, *options)
    assert encoded.returncode == 0, encoded.stderr
    fidelity = json.loads(encoded.stdout)["fidelity"]
    assert (fidelity["examples"], fidelity["outputs"][0]["name"]) == (64, "logits")
    # Decoding needs no network.
    del environment["PYTHONPATH"]
    decoded = nern(environment, "reconstruct", encoding, "-o", tmp_path / "back.pt")
    assert decoded.returncode == 0, decoded.stderr


def test_its_network_is_offered_accepted_and_run_by_the_service(
    tmp_path: Path, environment: dict[str, str], weights: Path
) -> None:
    called = subprocess.run(
        [sys.executable, "-c", CALLS_OF_THE_SERVICE, str(weights)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(called.stdout.splitlines()[-1]) == [True, [202, 422, 422]]
    folder = RunFolder(tmp_path / "run")
    folder.make()
    folder.checkpoint.write_bytes(weights.read_bytes())
    specification: dict[str, Any] = {"options": {"architecture": "acme:tagger", "target_ratio": 6}}
    folder.spec.write_text(json.dumps(specification))
    Caches().copy_to(folder.caches, lambda: None)
    command = [sys.executable, "-m", "worker.runner", str(folder.path), str(os.getpid())]
    variables = runner_environment(folder) | {"PYTHONPATH": environment["PYTHONPATH"]}
    ran = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
