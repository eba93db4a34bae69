"""`nern serve`: run the API and one worker as two child processes, with all data in one folder.

The children run in their own sessions, so that a Ctrl-C in the terminal reaches only this process. It stops them in
order: first the worker, which gives its job back, then the API. If this process is killed, they end at once, and so
does the worker's runner. A worker that is killed alone, as by the kernel when memory runs out, is started again.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from app.kit.parent_process import start_bound_child
from nern_cli.extras import require_module
from nern_cli.signals import stopping_signal_numbers
from nern_cli.terminal_text import print_error, print_line

# The commands `nern` and `celery` would first search the current folder for `app` and `worker`, and that folder may
# have an unrelated `app`.
_BOUND = "import sys; from app.kit.parent_process import end_with_parent; end_with_parent(sys.argv.pop()); "
_API = _BOUND + "from app.http.server import serve; serve(sys.argv[1], int(sys.argv[2]))"
_WORKER = _BOUND + "from worker.celery_app import celery; celery.worker_main(sys.argv[1:])"
# One worker for both queues: a GPU job on a machine without a GPU fails with a clear message.
_WORKER_OPTIONS = ["--quiet", "worker", "-Q", "cpu,gpu", "--without-gossip", "--without-mingle", "-l", "WARNING"]
_SECONDS_BETWEEN_CHECKS = 0.2
_SECONDS_TO_STOP = 30.0
# A killed worker is started again this often within this time; a machine that kills more of them needs its operator.
_MOST_RESTARTS, _SECONDS_OF_RESTARTS = 3, 300.0
# Time for a machine without memory to recover.
_SECONDS_BEFORE_RESTART = 1.0


def serve(data_dir: Path, host: str, port: int) -> int:
    """Migrate the database, run the API and a worker until Ctrl-C or SIGTERM, and return the exit code.

    Raises `NernError` for a public address without API keys (`keys_needed`), an unusable bucket (`storage_settings`),
    and an unusable database (`other_schema`, `no_database`, `unsafe_database`); `ModuleNotFoundError` without an extra.
    """
    environment = os.environ | {"NERN_DATA_DIR": str(data_dir.resolve())}
    os.environ["NERN_DATA_DIR"] = environment["NERN_DATA_DIR"]
    from app.db.schema import database_errors_told, migrate
    from app.http.server import refuse_open_service
    from app.settings import Settings
    from app.storage import check_storage

    require_module("torch")
    settings = Settings()
    refuse_open_service(settings, host)
    check_storage(settings)
    if not _is_free(host, port):
        print_error(f"Port {port} is in use; choose another one with --port.")
        return 1
    if data_dir.exists() and not data_dir.is_dir():
        print_error(f"'{data_dir}' is a file; choose a folder with --data-dir.")
        return 1
    data_dir.mkdir(parents=True, exist_ok=True)
    with database_errors_told():
        migrate(settings)
    stop = _StopRequest()
    api = _start(_API, [host, str(port)], environment)
    worker = _start(_WORKER, _WORKER_OPTIONS, environment)
    print_line(f"Serving on http://{host}:{port} (documentation at /docs), data in {data_dir}. Stop with Ctrl-C.")
    sys.stdout.flush()
    children = {"worker": worker, "API": api}
    ended, restarts = _wait(children, stop), _Restarts()
    while ended == "worker" and restarts.take(children[ended].returncode):
        print_error(f"{_end_of(ended, children[ended].returncode)}; it is started again.")
        time.sleep(_SECONDS_BEFORE_RESTART)
        if not stop.received:
            children[ended] = _start(_WORKER, _WORKER_OPTIONS, environment)
        ended = _wait(children, stop)
    _stop(children)
    if ended is None:
        print_line("Stopped.")
        return 0
    print_error(f"{_end_of(ended, children[ended].returncode)}.")
    return 1


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


class _StopRequest:
    """Sets `received` at the first SIGINT, SIGTERM or SIGHUP."""

    def __init__(self) -> None:
        self.received = False
        for number in {signal.SIGINT, signal.SIGTERM, *stopping_signal_numbers()}:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True


class _Restarts:
    """Counts the restarts of the worker."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_MOST_RESTARTS)

    def take(self, status: int) -> bool:
        """Return whether a worker with this exit status is to be started again; if so, count it.

        One that ended by itself is not: it has printed the reason, which would be the same again.
        """
        now = time.monotonic()
        is_full = len(self._times) == _MOST_RESTARTS
        if status >= 0 or (is_full and now - self._times[0] < _SECONDS_OF_RESTARTS):
            return False
        self._times.append(now)
        return True


def _end_of(name: str, status: int) -> str:
    """Return how a child has ended, as the beginning of a sentence."""
    if status >= 0:
        return f"The {name} stopped unexpectedly; its last messages are above"
    cause = ", perhaps because memory ran out" if -status == signal.SIGKILL else ""
    return f"The {name} was killed by signal {-status} ({_signal_name(-status)}){cause}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return "without a name"


def _start(program: str, arguments: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-c", program, *arguments]
    return start_bound_child(command, environment)


def _wait(children: Mapping[str, subprocess.Popen[bytes]], stop: _StopRequest) -> str | None:
    """Wait; return None after a stop request, or the name of a child that has ended."""
    while not stop.received:
        for name, child in children.items():
            if child.poll() is not None:
                return name
        time.sleep(_SECONDS_BETWEEN_CHECKS)
    return None


def _stop(children: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for child in children.values():
        if child.poll() is None:
            child.terminate()
        try:
            child.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
