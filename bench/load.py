"""Load on one API process: 200 clients with jobs, and status polls while large checkpoints arrive.

The polls are measured with and without API keys; without keys, no key has to be looked up.

`scripts/with-services .venv/bin/python -m bench.load` runs one API process, four workers whose jobs take a second,
PostgreSQL, Redis and the clients, all on this machine. It takes three minutes.
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

from app.access.caller import Scope
from app.access.service import ApiKeyService
from app.db.engine import create_sessions
from app.db.schema import migrate
from app.settings import Authentication, Settings
from bench.machine import describe_machine
from tests.databases import postgres_database

RESULTS = Path(__file__).parent / "results" / "load.json"
_ROOT = Path(__file__).parent.parent
_EXAMPLE = _ROOT / "examples" / "digits-cnn.safetensors"
_PORT = 8765
_WORKERS = 4
_API = [str(Path(sys.executable).with_name("nern")), "api", "--port", str(_PORT)]
_WORKER = [sys.executable, "-m", "celery", "-A", "bench.load_worker", "worker", "-Q", "cpu", "--loglevel", "INFO"]
_JOBS = {"clients": 200, "checkpoint": str(_EXAMPLE.relative_to(_ROOT))}
_POLLS = {"uploads": 20, "mebibytes": 50, "rate": 300, "pollers": 32}

_PARTS: tuple[tuple[str, str, dict[str, Any], Authentication], ...] = (
    ("poll_during_uploads", "poll_during_uploads", _POLLS, Authentication.NONE),
    ("poll_during_uploads_with_keys", "poll_during_uploads", _POLLS, Authentication.KEYS),
    ("upload_and_poll", "upload_and_poll", _JOBS, Authentication.NONE),
)


def main() -> None:
    """Run both parts, each on an empty service, and write the results."""
    result: dict[str, Any] = {"machine": describe_machine(), "load_before": os.getloadavg()}
    for name, part, arguments, authentication in _PARTS:
        with _service(authentication) as key:
            asked = json.dumps({"port": _PORT, "key": key, **arguments})
            command = [sys.executable, "-m", "bench.load_client", part, asked]
            answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=_ROOT).stdout
        result[name] = {"asked": arguments, **json.loads(answer)}
        print(name, json.dumps(result[name], indent=2), flush=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


@contextmanager
def _service(authentication: Authentication) -> Iterator[str]:
    """Run an empty service; yield a key if it needs one."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nern-load-")))
        given = {
            "NERN_DATA_DIR": str(folder),
            "NERN_DATABASE_URL": stack.enter_context(postgres_database()),
            "NERN_BROKER_URL": os.environ["NERN_TEST_REDIS_URL"],
            "NERN_AUTHENTICATION": authentication.value,
            # Above the default rate limit: 300 polls a second are 18,000 a minute.
            "NERN_REQUESTS_PER_MINUTE": "100000",
            "NERN_BROKER_PREFIX": f"nern-load-{secrets.token_hex(4)}:",
        }
        settings = Settings(data_dir=folder, database_url=given["NERN_DATABASE_URL"])
        migrate(settings)
        for command in [_API, *([_WORKER] * _WORKERS)]:
            stack.enter_context(_process(command, os.environ | given, folder / "log"))
        _wait_until(_api_is_ready)
        _wait_until(lambda: (folder / "log").read_text().count(" ready.") == _WORKERS)
        yield _key(settings) if authentication is Authentication.KEYS else ""


def _key(settings: Settings) -> str:
    """Create a key with all scopes."""
    sessions = create_sessions(settings)
    try:
        return ApiKeyService(sessions).create("bench", tuple(Scope)).reveal()
    finally:
        sessions.kw["bind"].dispose()


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
