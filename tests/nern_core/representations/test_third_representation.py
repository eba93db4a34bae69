"""A third representation, from an installed package, needs no change elsewhere."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import EXAMPLE, ROOT
from worker.caches import Caches
from worker.child import runner_environment
from worker.folder import RunFolder

pytestmark = pytest.mark.slow

TOY = Path(__file__).parent / "toy"
CALLS_OF_THE_SERVICE = """
import json, sys
from app.settings import Settings
from tests.app.conftest import serving

with serving(Settings()) as client:
    page = client.get("/new", headers={"accept": "text/html"})
    form = {"options": json.dumps({"representation": "toy"})}
    accepted = client.post("/jobs", data=form, files={"checkpoint": open(sys.argv[1], "rb")})
    job = client.get(accepted.json()["links"]["self"]) if accepted.status_code == 202 else accepted
    print(json.dumps([page.status_code, "toy" in page.text, accepted.status_code, job.json()]))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that has the package installed."""
    site = tmp_path / "site"
    shutil.copytree(TOY, site)
    information = site / "toy-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[nern.representations]\ntoy = toy_entry:ENTRY\n")
    return os.environ | {"PYTHONPATH": str(site), "NERN_DATA_DIR": str(tmp_path / "data")}


def nern(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("nern")), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_it_encodes_decodes_and_reports(tmp_path: Path, environment: dict[str, str]) -> None:
    encoding, decoded = tmp_path / "x.nern", tmp_path / "x.safetensors"
    encoded = nern(environment, "encode", str(EXAMPLE), "-o", str(encoding), "--representation", "toy", "--json")
    assert encoded.returncode == 0, encoded.stderr
    assert json.loads(encoded.stdout)["relative_error"] < 0.001
    inspected = json.loads(nern(environment, "inspect", str(encoding), "--json").stdout)
    assert (inspected["representation"], inspected["bits"]) == ("toy", 16)
    assert nern(environment, "reconstruct", str(encoding), "-o", str(decoded)).returncode == 0
    original, found = read_checkpoint(EXAMPLE).tensors, read_checkpoint(decoded).tensors
    assert all(torch.equal(found[name], tensor.half().float()) for name, tensor in original.items() if tensor.ndim > 1)
    page = tmp_path / "x.html"
    reported = nern(environment, "report", str(EXAMPLE), str(encoding), "-o", str(page))
    assert reported.returncode == 0, reported.stderr


def test_it_is_accepted_and_run_by_the_service(tmp_path: Path, environment: dict[str, str]) -> None:
    called = subprocess.run(
        [sys.executable, "-c", CALLS_OF_THE_SERVICE, str(EXAMPLE)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    page, is_offered, accepted, job = json.loads(called.stdout.splitlines()[-1])
    assert (page, is_offered, accepted, job["options"]["representation"]) == (200, True, 202, "toy")
    folder = RunFolder(tmp_path / "run")
    folder.make()
    folder.checkpoint.write_bytes(EXAMPLE.read_bytes())
    specification: dict[str, Any] = {"options": {"representation": "toy"}}
    folder.spec.write_text(json.dumps(specification))
    Caches().copy_to(folder.caches, lambda: None)
    command = [sys.executable, "-m", "worker.runner", str(folder.path), str(os.getpid())]
    variables = runner_environment(folder) | {"PYTHONPATH": environment["PYTHONPATH"]}
    ran = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert folder.report.is_file()
