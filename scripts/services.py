"""Run a command that needs PostgreSQL and Redis, with NERN_TEST_POSTGRES_URL and NERN_TEST_REDIS_URL set.

Uses, in this order: the servers that those variables already name; servers that answer on the usual ports of this
machine without a password; private servers, started from installed binaries in a temporary folder and removed at the
end. Missing binaries are installed if this user may.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg
import redis

POSTGRES_URL = "postgresql://postgres@127.0.0.1:{port}/postgres"
REDIS_URL = "redis://127.0.0.1:{port}/15"
START_SECONDS = 60.0


class ServiceError(Exception):
    """A service that can neither be found nor started; the message is one sentence for the user."""


def main(command: list[str]) -> int:
    """Run the command and return its exit status, as a shell would."""
    if not command:
        raise ServiceError("Usage: scripts/with-services COMMAND [ARGUMENT]...")
    # On SIGTERM, leave through the `with` below, also while a server is still starting.
    signal.signal(signal.SIGTERM, _exit_on_signal)
    with ExitStack() as stack:
        postgres = os.environ.get("NERN_TEST_POSTGRES_URL")
        if not postgres:
            plain = _running(postgres_answers, 5432, POSTGRES_URL) or stack.enter_context(_private_postgres())
            postgres = plain.replace("postgresql:", "postgresql+psycopg:", 1)
        cache = os.environ.get("NERN_TEST_REDIS_URL")
        if not cache:
            cache = _running(redis_answers, 6379, REDIS_URL) or stack.enter_context(_private_redis())
        print(f"PostgreSQL: {postgres}\nRedis: {cache}", file=sys.stderr, flush=True)
        return _run(command, {"NERN_TEST_POSTGRES_URL": postgres, "NERN_TEST_REDIS_URL": cache})


def _run(command: list[str], environment: Mapping[str, str]) -> int:
    """Run the command to its end. Signals are passed on to it, and it decides when to stop."""
    try:
        child = subprocess.Popen(command, env={**os.environ, **environment})
    except OSError as error:
        raise ServiceError(f"Cannot run '{command[0]}': {error.strerror}.") from error
    # Ctrl-C reaches the whole process group by itself; a SIGTERM has to be passed on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
    status = child.wait()
    return status if status >= 0 else 128 - status


def _exit_on_signal(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


# Running servers


def _running(answers: Callable[[str], bool], port: int, url: str) -> str | None:
    url = url.format(port=port)
    return url if answers(url) else None


def postgres_answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.Error:
        return False
    return True


def redis_answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


# Private servers


@contextmanager
def _private_postgres() -> Iterator[str]:
    programs = postgres_programs()
    if programs is None:
        _install("postgresql")
        programs = postgres_programs()
    if programs is None:
        raise ServiceError("PostgreSQL was installed, but its programs `initdb` and `postgres` cannot be found.")
    port = free_port()
    with temporary_folder() as folder:
        data = folder / "postgres"
        initdb: list[str | Path] = [programs / "initdb", "--pgdata", data, "--username=postgres", "--auth=trust"]
        initdb += ["--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **unprivileged())
        # Durability costs time and tests throw the data away.
        options = ["-c", "fsync=off", "-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1"]
        command: list[str | Path] = [programs / "postgres", "-D", data, "-p", str(port), *options]
        # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave.
        with _server(command, folder, postgres_answers, POSTGRES_URL.format(port=port), signal.SIGINT) as url:
            yield url


def postgres_programs() -> Path | None:
    """Find the folder of PostgreSQL's server programs, which Debian keeps out of PATH, one for each version."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    if found := shutil.which("postgres"):
        folders.append(Path(found).resolve().parent)
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


@contextmanager
def _private_redis() -> Iterator[str]:
    if shutil.which("redis-server") is None:
        _install("redis-server")
    program = shutil.which("redis-server")
    if program is None:
        raise ServiceError("Redis was installed, but its program `redis-server` cannot be found.")
    port = free_port()
    with temporary_folder() as folder:
        options: list[str | Path] = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        command: list[str | Path] = [program, "--port", str(port), *options]
        with _server(command, folder, redis_answers, REDIS_URL.format(port=port), signal.SIGTERM) as url:
            yield url


@contextmanager
def _server(
    command: list[str | Path], folder: Path, answers: Callable[[str], bool], url: str, stop: signal.Signals
) -> Iterator[str]:
    """Run a server until the end of the `with`, whose body starts when the server answers."""
    name = Path(command[0]).name
    log = folder / "log"
    with log.open("wb") as output:
        # A separate process group, so that Ctrl-C reaches only the command that uses the server.
        server = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=folder, start_new_session=True, **unprivileged()
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(url):
            if server.poll() is not None or time.monotonic() > deadline:
                tail = " ".join(log.read_text(errors="replace").split())[-300:]
                raise ServiceError(f"A private {name} does not start; its log ends with: {tail}")
            time.sleep(0.05)
        yield url
    finally:
        server.send_signal(stop)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nern-test-", ignore_cleanup_errors=True) as name:
        if owner := unprivileged():
            os.chown(name, owner["user"], owner["group"])
        yield Path(name)


def unprivileged() -> dict[str, Any]:
    """Return the user of servers, for `subprocess`: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    try:
        account = pwd.getpwnam("postgres")
    except KeyError:
        account = pwd.getpwnam("nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _install(package: str) -> None:
    installed = subprocess.run([Path(__file__).with_name("apt-install"), package], check=False)
    if installed.returncode:
        raise ServiceError(f"The tests need the package '{package}', which could not be installed.")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ServiceError as error:
        sys.exit(f"with-services: {error}")
