"""Encode and decode a network by the library, by the command line and by a service."""

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import torch

import nern_core
from bench.network_zoo import FORECASTER, VOICE_ENCODER
from bench.zoo_network import Tensors, ZooNetwork, loaded, tensors_of
from nern_cli.hub_archive import sendable
from tests.processes import NERN, Client, free_port, process, wait_for

WAYS = ("library", "command", "service")
_ROOT = Path(__file__).parent.parent
_ONNX = ".onnx"
_SECONDS_OF_A_JOB = 1800.0
# The service answers after a minute at the latest.
_SECONDS_OF_A_POLL = 90.0
# The package in which a service finds the bench's own networks; its modules are those of the bench.
_PROJECT = f"""
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "zoo-networks"
version = "1.0"

[project.entry-points."nern.architectures"]
"{FORECASTER}" = "bench.own_networks:Forecaster"
"{VOICE_ENCODER}" = "bench.package_networks:VoiceEncoder"

[tool.setuptools]
py-modules = []
"""


class FailedWay(Exception):
    """A way that ended without a result, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The `.nern` file of the `original` tensors, the reconstruction (a file or a folder), and the metrics."""

    original: Tensors
    encoding: Path
    decoded: Path
    metrics: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """A running service, and the environment variables of processes that find the packages."""

    service: Client
    variables: Mapping[str, str]


@contextmanager
def places(folder: Path) -> Iterator[Places]:
    """Install the packages whose entry points name networks, here too, and run `nern serve`, all in a folder."""
    site = _installed(folder)
    # The settings of another service would change this one.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("NERN_")}
    variables["PYTHONPATH"] = os.pathsep.join([str(site), str(_ROOT)])
    port, log = free_port(), folder / "service.log"
    command = [NERN, "serve", "--data-dir", str(folder / "data"), "--port", str(port)]
    sys.path.append(str(site))
    try:
        with Client(port) as client, process(command, variables, log, folder):
            wait_for(client.is_ready, what=f"the service did not start; see {log}")
            yield Places(service=client, variables=variables)
    finally:
        sys.path.remove(str(site))


def go(way: str, network: ZooNetwork, folder: Path, options: Mapping[str, Any], places: Places) -> Outcome:
    """Encode and decode a network in one way, in a folder of its own. Raises `FailedWay` or an error of the library."""
    folder.mkdir(parents=True)
    if way == "library":
        return _by_library(network, folder, options)
    if way == "command":
        return _by_command(network, folder, options, places)
    return _by_service(network, folder, options, places)


def _installed(folder: Path) -> Path:
    """Install the packages as docs/own-networks.md says; return the folder that has them."""
    site, own, example = (folder / name for name in ("site", "zoo", "acme"))
    own.mkdir()
    (own / "pyproject.toml").write_text(_PROJECT)
    # A copy, because building leaves files beside the source.
    shutil.copytree(_ROOT / "examples" / "acme_networks", example)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(site), str(own), str(example)], check=True)
    return site


def _by_library(network: ZooNetwork, folder: Path, options: Mapping[str, Any]) -> Outcome:
    """Encode the network with inputs in memory, and load the file into a fresh network."""
    encoding, original, started = folder / "x.nern", tensors_of(network.checkpoint), time.perf_counter()
    chosen, inputs = nern_core.EncodeOptions(**options), network.inputs(0)
    if network.build is None:
        decoded = folder / f"decoded{_ONNX}"
        report = nern_core.encode(network.checkpoint, encoding, chosen, inputs=inputs).report
        nern_core.write_checkpoint(nern_core.decode(encoding), decoded)
    else:
        decoded, subject = folder / "decoded.pt", loaded(network.build(), original)
        original = {name: tensor.clone() for name, tensor in subject.state_dict().items()}
        report = nern_core.encode(subject, encoding, chosen, inputs=inputs).report
        torch.save(nern_core.load(encoding, network.build()).state_dict(), decoded)
    return Outcome(
        original=original,
        encoding=encoding,
        decoded=decoded,
        metrics=report.metrics.model_dump(mode="json"),
        seconds=time.perf_counter() - started,
    )


def _by_command(network: ZooNetwork, folder: Path, options: Mapping[str, Any], places: Places) -> Outcome:
    """Run `nern encode` and `nern reconstruct`."""
    encoding, decoded, started = folder / "x.nern", folder / f"decoded{_suffix(network)}", time.perf_counter()
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    if network.architecture is not None:
        flags += ["--architecture", network.architecture]
    flags += ["--dataset", str(network.dataset), "-o", str(encoding), "--json"]
    metrics = json.loads(_nern(places, "encode", str(network.checkpoint), *flags))
    _nern(places, "reconstruct", str(encoding), "-o", str(decoded))
    return Outcome(
        original=tensors_of(network.checkpoint),
        encoding=encoding,
        decoded=decoded,
        metrics=metrics,
        seconds=time.perf_counter() - started,
    )


def _by_service(network: ZooNetwork, folder: Path, options: Mapping[str, Any], places: Places) -> Outcome:
    """Upload the data set, post a job, wait for its end and download its results."""
    dataset, client, started = f"data-{secrets.token_hex(4)}", places.service, time.perf_counter()
    _nern(places, "datasets", "upload", dataset, str(network.dataset))
    asked = {**options, "dataset": dataset}
    if network.served is not None:
        asked["architecture"] = network.served
    with sendable(network.checkpoint) as sent, sent.open("rb") as file:
        answer = client.http.post("/jobs", files={"checkpoint": file}, data={"options": json.dumps(asked)})
    if answer.status_code != httpx2.codes.ACCEPTED:
        raise FailedWay(answer.text)
    job = _ended(client, answer.headers["Location"])
    if job["status"] != "succeeded":
        raise FailedWay(f"the job is {job['status']}: {job['message']} {job['error']}")
    _nern(places, "jobs", "show", job["id"])
    decoded = f"weights{_ONNX}" if network.build is None else "weights.safetensors"
    for name in ("encoding.nern", decoded):
        content = client.http.get(job["artifacts"][name]["url"]).raise_for_status().content
        if hashlib.sha256(content).hexdigest() != job["artifacts"][name]["sha256"]:
            raise FailedWay(f"the digest of {name} is not the published one")
        (folder / name).write_bytes(content)
    return Outcome(
        original=tensors_of(network.checkpoint),
        encoding=folder / "encoding.nern",
        decoded=folder / decoded,
        metrics=job["metrics"],
        seconds=time.perf_counter() - started,
    )


def _ended(client: Client, address: str) -> dict[str, Any]:
    """Wait for the end of a job. Raises `FailedWay` if it takes too long."""
    deadline = time.monotonic() + _SECONDS_OF_A_JOB
    while time.monotonic() < deadline:
        answer = client.http.get(f"{address}?wait_for=end", timeout=_SECONDS_OF_A_POLL)
        job: dict[str, Any] = answer.raise_for_status().json()
        if job["finished_at"] is not None:
            return job
    raise FailedWay(f"the job did not end in {_SECONDS_OF_A_JOB:.0f} s")


def _suffix(network: ZooNetwork) -> str:
    if network.build is None:
        return _ONNX
    return "" if network.checkpoint.is_dir() else ".safetensors"


def _nern(places: Places, *arguments: str) -> str:
    """Run a command in the repository's folder; return what it prints. Raises `FailedWay`."""
    variables = {**places.variables, "NERN_URL": str(places.service.http.base_url).rstrip("/")}
    ran = subprocess.run([NERN, *arguments], env=variables, cwd=_ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise FailedWay(f"nern {' '.join(arguments)}: status {ran.returncode}: {ran.stderr[-2000:]}")
    return ran.stdout
