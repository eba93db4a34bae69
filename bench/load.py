"""How much can one API process take? 200 clients with jobs, and status polls while large checkpoints arrive.

`scripts/with-services .venv/bin/python -m bench.load`: one API process, four workers whose jobs take a second, and
PostgreSQL and Redis, all on this machine, which the clients share. Two minutes.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from app.database import migrate
from app.settings import Settings
from bench.machine import describe_machine
from tests.conftest import new_database

RESULTS = Path(__file__).parent / "results" / "load.json"
_ROOT = Path(__file__).parent.parent
_EXAMPLE = _ROOT / "examples" / "digits-cnn.safetensors"
_PORT = 8765
_WORKERS = 4
_API = [str(Path(sys.executable).with_name("nern")), "api", "--port", str(_PORT)]
_WORKER = [sys.executable, "-m", "celery", "-A", "bench.load_worker", "worker", "-Q", "cpu", "--loglevel", "INFO"]
_JOBS = {"port": _PORT, "clients": 200, "checkpoint": str(_EXAMPLE.relative_to(_ROOT))}
_POLLS = {"port": _PORT, "uploads": 20, "mebibytes": 50, "rate": 300, "pollers": 32}


def main() -> None:
    """Run both parts on an empty service each, and write the results."""
    result: dict[str, Any] = {"machine": describe_machine(), "load_before": os.getloadavg()}
    for part, arguments in (("poll_during_uploads", _POLLS), ("upload_and_poll", _JOBS)):
        with _service():
            command = [sys.executable, "-m", "bench.load_client", part, json.dumps(arguments)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=_ROOT).stdout
        result[part] = {"asked": arguments, **json.loads(answer)}
        print(part, json.dumps(result[part], indent=2), flush=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


@contextmanager
def _service() -> Iterator[None]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nern-load-")))
        given = {
            "NERN_DATA_DIR": str(folder),
            "NERN_DATABASE_URL": stack.enter_context(new_database()),
            "NERN_BROKER_URL": os.environ["NERN_TEST_REDIS_URL"],
            "NERN_AUTHENTICATION": "none",
            "NERN_BROKER_PREFIX": f"nern-load-{secrets.token_hex(4)}:",
        }
        migrate(Settings(data_dir=folder, database_url=given["NERN_DATABASE_URL"]))
        for command in [_API, *([_WORKER] * _WORKERS)]:
            stack.enter_context(_process(command, os.environ | given, folder / "log"))
        _wait_until(_api_is_ready)
        _wait_until(lambda: (folder / "log").read_text().count(" ready.") == _WORKERS)
        yield


@contextmanager
def _process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, cwd=_ROOT, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _api_is_ready() -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{_PORT}/readyz", timeout=5).close()
    except urllib.error.URLError:
        return False
    return True


def _wait_until(is_ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_ready():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.2)


if __name__ == "__main__":
    main()
