"""The service as real processes: an API, Celery workers, and an HTTP client."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2
import pytest
from pydantic import SecretStr

from app.settings import Settings
from tests.paths import EXAMPLE, ROOT

NERN = str(Path(sys.executable).with_name("nern"))
API = [NERN, "api", "--port"]
WORKER = [sys.executable, "-m", "celery", "-A", "worker.celery_app", "worker", "--without-gossip", "--without-mingle"]
Found = TypeVar("Found")
TERMINAL = {"succeeded", "failed", "canceled"}


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(settings: Settings) -> dict[str, str]:
    """Return the settings as environment variables."""
    given = {f"NERN_{name.upper()}": _plain(getattr(settings, name)) for name in settings.model_fields_set}
    given["NERN_DATASET_ROOTS"] = os.pathsep.join(map(str, settings.dataset_roots))
    return os.environ | {name: str(value) for name, value in given.items()}


def _plain(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def is_running(pid: int) -> bool:
    """Return true if a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children_of(pid: int) -> list[int]:
    """Return all descendants of a process."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [grandchild for child in found for grandchild in children_of(child)]


def has_torch(pid: int) -> bool:
    """Return true if a process has loaded torch's libraries."""
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


@contextmanager
def process(
    command: list[str], env: Mapping[str, str], log: Path, folder: Path = ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a folder until the end of the `with`, then stop it like an orchestrator."""
    with log.open("ab") as output:
        child = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output, start_new_session=True)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            pytest.fail(f"{command} did not stop; {log} ends with: {log.read_text()[-500:]}")


def wait_for(look: Callable[[], Found | None], seconds: float = 60, what: str = "nothing happened") -> Found:
    """Call `look` until it returns something."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


class Client:
    """A simple client of the API, such as a user would write, with an API key if the service needs one."""

    def __init__(self, port: int, key: str = "") -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()

    def is_ready(self) -> bool:
        try:
            return self.http.get("/readyz").is_success
        except httpx2.TransportError:
            return False

    def submit(self, checkpoint: Path = EXAMPLE, **options: Any) -> str:
        with checkpoint.open("rb") as file:
            answer = self.http.post("/jobs", files={"checkpoint": file}, data={"options": json.dumps(options)})
        assert answer.status_code == 202, answer.text
        return answer.headers["Location"]

    def get(self, address: str) -> dict[str, Any]:
        job: dict[str, Any] = self.http.get(address).raise_for_status().json()
        return job

    def ended(self, address: str, seconds: float = 120) -> dict[str, Any]:
        return wait_for(
            lambda: job if (job := self.get(address))["status"] in TERMINAL else None, seconds, "the job did not end"
        )

    def training(self, address: str) -> dict[str, Any]:
        return wait_for(lambda: job if (job := self.get(address))["progress"] and job["progress"]["step"] else None)


class Service:
    """An API and workers, which are started and stopped individually."""

    def __init__(self, settings: Settings, stack: ExitStack, logs: Path) -> None:
        self.settings = settings
        self._stack = stack
        self._logs = logs
        self.port = free_port()
        self.client = stack.enter_context(Client(self.port))

    def start_api(self) -> subprocess.Popen[bytes]:
        api = self._start([*API, str(self.port)], "api")
        wait_for(self.client.is_ready, what=f"the API did not start; see {self._logs}")
        return api

    def start_worker(self, queues: str = "cpu") -> subprocess.Popen[bytes]:
        return self._start([*WORKER, "-Q", queues], "worker")

    def _start(self, command: list[str], name: str) -> subprocess.Popen[bytes]:
        return self._stack.enter_context(process(command, environment(self.settings), self._logs / f"{name}.log"))
