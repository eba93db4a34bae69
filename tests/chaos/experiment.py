"""One experiment: a service of real processes, injected faults, and a client that records every answer."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx2

from app.db.engine import create_engine
from app.db.schema import migrate
from app.settings import Settings
from tests.chaos import audit
from tests.chaos.history import History, Refused, Unanswered
from tests.chaos.proxy import Proxy
from tests.chaos.servers import Postgres, Redis
from tests.chaos.witness import Run, Witness
from tests.conftest import EXAMPLE, ROOT
from tests.processes import API, TERMINAL, WORKER, environment, free_port, wait_for

# Some seconds of training on the example, so that tests see it train; only the seed determines its bytes.
STEPS = {"architecture": "digits-cnn", "hidden_size": 16, "steps": 1000}
# Almost no work: only the start of a runner remains.
TINY = {"hidden_size": 8, "steps": 2}
FOREVER = {"architecture": "digits-cnn", "hidden_size": 16, "seconds": 600}


@dataclass(frozen=True)
class Backends:
    """The servers of an experiment, and the proxies that its processes reach them through."""

    postgres: Postgres
    redis: Redis
    to_postgres: Proxy
    to_redis: Proxy


class Experiment:
    """Starts processes, injects faults, and submits jobs. Every job has a unique seed that identifies it."""

    def __init__(self, name: str, settings: Settings, folder: Path, backends: Backends | None = None) -> None:
        self.name = name
        self.settings = settings
        self.folder = folder
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.history = History(folder / "history.jsonl")
        self.witness = Witness(settings.scratch, folder / "witness.jsonl")
        self.faults: Counter[str] = Counter()
        self.started = time.monotonic()
        self.random = random.Random(name)
        self.engine = create_engine(settings)
        self.checkpoint = EXAMPLE
        self._backends = backends
        self._seeds = iter(range(1, 1_000_000))
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def backends(self) -> Backends:
        """The servers; only for experiments outside the embedded mode."""
        assert self._backends is not None
        return self._backends

    # Processes

    def start_api(self, command: list[str] | None = None) -> subprocess.Popen[bytes]:
        """Start the API, and wait until it is ready."""
        api = self.start([*(command or API), str(self.port)], "api")
        wait_for(lambda: self.is_ready(api), what=f"the API did not start; see {self.folder}/api.log")
        return api

    def start_worker(self, command: list[str] | None = None) -> subprocess.Popen[bytes]:
        """Start a worker."""
        return self.start([*(command or WORKER), "-Q", "cpu", "--loglevel", "INFO"], "worker")

    def start(self, command: list[str], name: str) -> subprocess.Popen[bytes]:
        """Start a process with the settings of the experiment, in its own session."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment(self.settings), stdout=log, stderr=log, start_new_session=True
            )
        self._processes.append(process)
        return process

    def kill(self, pid: int, what: str) -> None:
        """Kill a process with SIGKILL."""
        os.kill(pid, signal.SIGKILL)
        self.faults[f"kill -9 {what}"] += 1

    def is_ready(self, api: subprocess.Popen[bytes]) -> bool:
        """Return true if the API is ready. Fails if it has ended."""
        assert api.poll() is None, (self.folder / "api.log").read_text()[-2000:]
        try:
            return httpx2.get(f"{self.base}/readyz", timeout=5).is_success
        except httpx2.TransportError:
            return False

    def runner_of(self, job_id: str) -> Run:
        """Wait for the process that encodes a job, and return it."""
        return wait_for(lambda: self.witness.living(job_id), what=f"nobody encodes {job_id}")[0]

    # The client

    def submit(self, options: Mapping[str, Any] = STEPS, seconds: float = 20) -> str:
        """Submit a job and return its id. Raises `Refused` or `Unanswered`."""
        seed = options.get("seed") or next(self._seeds)
        form = {"options": json.dumps(dict(options) | {"seed": seed})}
        with self.history.operation("submit", seed=seed) as told:
            files = {"checkpoint": self.checkpoint.read_bytes()}
            answer = httpx2.post(f"{self.base}/jobs", files=files, data=form, timeout=seconds).raise_for_status()
            told["job"] = answer.json()["id"]
        return str(told["job"])

    def try_to_submit(self, options: Mapping[str, Any] = STEPS, seconds: float = 20) -> str | None:
        """Submit a job to a service that may be broken; return None if it was not accepted, as far as known."""
        try:
            return self.submit(options, seconds)
        except (Refused, Unanswered):
            return None

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; return false if that was refused or the outcome is unknown."""
        try:
            with self.history.operation("cancel", job=job_id):
                httpx2.post(f"{self.base}/jobs/{job_id}/cancel", timeout=20).raise_for_status()
        except (Refused, Unanswered):
            return False
        return True

    def get(self, job_id: str) -> dict[str, Any]:
        """Return a job."""
        job: dict[str, Any] = self.read(f"/jobs/{job_id}").json()
        return job

    def read(self, address: str) -> httpx2.Response:
        """Send a GET request; retry if the service asks for that, raise any other error."""

        def look() -> httpx2.Response | None:
            answer = httpx2.get(self.base + address, timeout=20)
            return None if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE else answer.raise_for_status()

        return wait_for(lambda: [answer] if (answer := look()) is not None else None)[0]

    def training(self, job_id: str) -> dict[str, Any]:
        """Wait until a job trains, and return it."""
        return wait_for(lambda: job if ((job := self.get(job_id))["progress"] or {}).get("step") else None)

    def is_over(self, job_id: str) -> bool:
        """Return true if a job has ended and has no runner."""
        return self.get(job_id)["status"] in TERMINAL and not self.witness.living(job_id)

    def bytes_of(self, job_id: str) -> tuple[str, str]:
        """Return the digests of the results that the seed determines: the encoding and the weights."""
        artifacts = wait_for(lambda: self.get(job_id)["artifacts"], 240, what=f"{job_id} has no results")
        return artifacts["encoding.nern"]["sha256"], artifacts["weights.safetensors"]["sha256"]

    def undisturbed_twin(self, job_id: str) -> str:
        """Submit the same job again without faults."""
        return self.submit(self.get(job_id)["options"])

    def log(self, name: str) -> str:
        """Return the log of the processes with a name."""
        return (self.folder / f"{name}.log").read_text()

    def jobs(self) -> list[dict[str, Any]]:
        """Return all jobs of the service."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self.read("/jobs?limit=100" + (f"&cursor={cursor}" if cursor else "")).json()
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    def close(self) -> None:
        """End all processes, in any state."""
        for process in self._processes:
            for number in (signal.SIGCONT, signal.SIGTERM):
                if process.poll() is None:
                    os.killpg(process.pid, number)
        for process in self._processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.engine.dispose()


@contextmanager
def experiment_on(
    name: str, settings: Settings, folder: Path, backends: Backends | None = None
) -> Iterator[Experiment]:
    """Create an experiment with an empty database and no running processes."""
    migrate(settings)
    experiment = Experiment(name, settings, folder, backends)
    audit.install(experiment.engine)
    experiment.witness.start()
    with ExitStack() as stack:
        stack.callback(experiment.witness.stop)
        stack.callback(experiment.close)
        yield experiment


def unreliable(probability: float) -> tuple[list[str], list[str]]:
    """Return commands for an API and a worker whose commits are applied but sometimes answered with an error."""
    prefix = ["env", f"CHAOS_PROBABILITY={probability}", sys.executable, "-m"]
    api = [*prefix, "uvicorn", "tests.chaos.unreliable_api:app", "--host", "127.0.0.1", "--port"]
    return api, [*prefix, "celery", "-A", "tests.chaos.unreliable_worker", *WORKER[5:]]


def meanwhile(seconds: float, act: Callable[[], None], pause: Callable[[], float]) -> None:
    """Repeat an action for `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        act()
        time.sleep(pause())
