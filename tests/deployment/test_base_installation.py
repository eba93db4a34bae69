"""The base of the package, without extras: built, installed alone, and used with a running service."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nern_core import EncodeOptions, decode, encode
from tests.conftest import EXAMPLE, ROOT
from tests.shared_service import SharedService, Tenant

pytestmark = pytest.mark.slow
MOST_BYTES = 80 * 10**6


PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built package."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    (found,) = folder.glob("nern-*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the package, without extras and without pip."""
    return installed(str(wheel), tmp_path_factory.mktemp("base") / "venv")


@pytest.fixture(scope="module")
def decoder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the package and its extra `decode`."""
    return installed(f"{wheel}[decode]", tmp_path_factory.mktemp("decoder") / "venv")


def installed(package: str, environment: Path) -> Path:
    """Make a virtual environment with this package."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    subprocess.run([*PIP, "--python", environment, "install", "--only-binary", ":all:", package], check=True)
    return environment


@pytest.fixture(scope="module")
def encoding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as a quantized file."""
    path = tmp_path_factory.mktemp("encoding") / "x.nern"
    encode(EXAMPLE, path, EncodeOptions(target_ratio=8))
    return path


def packages_of(environment: Path) -> Path:
    """Return the folder of the installed packages."""
    (found,) = environment.glob("lib/python3*/site-packages")
    return found


def nern(environment: Path, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a folder."""
    return subprocess.run(
        [environment / "bin" / "nern", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_is_small(environment: Path) -> None:
    files = [file for file in packages_of(environment).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES


def test_it_has_neither_torch_nor_a_server(environment: Path) -> None:
    installed = {path.name for path in packages_of(environment).iterdir()}
    assert {"nern_client", "nern_cli", "nern_core"} <= installed
    assert installed.isdisjoint({"torch", "numpy", "safetensors", "fastapi", "uvicorn", "celery", "sqlalchemy"})


@pytest.mark.parametrize("shared", ["embedded"], indirect=True)
def test_it_submits_a_job_and_follows_it(
    environment: Path, shared: SharedService, tenant: Tenant, tmp_path: Path
) -> None:
    service = {"NERN_URL": f"http://127.0.0.1:{shared.port}", "NERN_API_KEY": tenant.key}
    submitted = nern(environment, tmp_path, "submit", str(EXAMPLE), "--architecture", "digits-cnn", "--json", **service)
    assert submitted.returncode == 0, submitted.stderr
    job = json.loads(submitted.stdout)["id"]
    shown = nern(environment, tmp_path, "jobs", "show", job, "--json", **service)
    assert json.loads(shown.stdout)["options"]["architecture"] == "digits-cnn"
    assert [known["id"] for known in tenant.client.get("/jobs")["items"]] == [job]


def test_it_inspects_a_checkpoint(environment: Path, tmp_path: Path) -> None:
    inspected = nern(environment, tmp_path, "inspect", str(EXAMPLE), "--json")
    assert (json.loads(inspected.stdout)["represented_weights"], inspected.stderr) == (56_800, "")


def test_a_command_that_needs_more_says_what_to_install(environment: Path, tmp_path: Path) -> None:
    ended = nern(environment, tmp_path, "encode", str(EXAMPLE), "-o", "out.nern")
    assert (ended.returncode, ended.stderr) == (
        1,
        "nern: nern encode needs the extra encode: pip install 'nern[encode]'\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_it_says_that_decoding_needs_numpy(environment: Path, encoding: Path, tmp_path: Path) -> None:
    ended = nern(environment, tmp_path, "reconstruct", str(encoding), "-o", "out.safetensors")
    assert (ended.returncode, ended.stderr) == (
        1,
        "nern: nern reconstruct needs the extra decode: pip install 'nern[decode]'\n",
    )


def test_with_numpy_it_decodes_the_same_weights_as_with_torch(decoder: Path, encoding: Path, tmp_path: Path) -> None:
    assert not (packages_of(decoder) / "torch").exists()
    ended = nern(decoder, tmp_path, "reconstruct", str(encoding), "-o", "out.safetensors")
    assert (ended.returncode, ended.stderr) == (0, "")
    expected, found = decode(encoding).tensors, load_file(tmp_path / "out.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_with_numpy_alone_it_writes_safetensors_only(decoder: Path, encoding: Path, tmp_path: Path) -> None:
    ended = nern(decoder, tmp_path, "reconstruct", str(encoding), "-o", "out.pt")
    assert (ended.returncode, ended.stderr) == (
        1,
        "nern: nern reconstruct needs the extra encode: pip install 'nern[encode]'\n",
    )
