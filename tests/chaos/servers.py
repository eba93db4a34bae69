"""Private PostgreSQL and Redis servers that an experiment may kill and start again on the same port."""

import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from scripts.services import (
    POSTGRES_URL,
    free_port,
    postgres_answers,
    postgres_programs,
    redis_answers,
    temporary_folder,
    unprivileged,
)
from tests.processes import wait_for


class Server:
    """A server process that keeps its port and its folder over restarts."""

    def __init__(self, command: list[str], folder: Path, port: int) -> None:
        self._command = command
        self._folder = folder
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server unless it runs, and wait until it answers."""
        wait_for(self._runs, what=f"{self._command[0]} did not start")

    def _runs(self) -> bool:
        # The remains of a killed server may prevent the next one from starting for a moment.
        if self._process is None or self._process.poll() is not None:
            with (self._folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    self._command,
                    stdout=log,
                    stderr=log,
                    cwd=self._folder,
                    start_new_session=True,
                    **unprivileged(),
                )
        return self.answers()

    def stop(self, number: signal.Signals) -> None:
        """Stop the server with a signal, and wait until it has ended."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        self.stop(signal.SIGKILL)

    def answers(self) -> bool:
        raise NotImplementedError


class Postgres(Server):
    """A private cluster, as durable as in production. Its databases have a log of job transitions."""

    def __init__(self, programs: Path, folder: Path) -> None:
        port = free_port()
        data = folder / "data"
        initdb = [str(programs / "initdb"), "--pgdata", str(data), "--username=postgres", "--auth=trust"]
        initdb += ["--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **unprivileged())
        options = ["-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1"]
        super().__init__([str(programs / "postgres"), "-D", str(data), "-p", str(port), *options], folder, port)

    def answers(self) -> bool:
        return postgres_answers(self.url("postgres"))

    def url(self, database: str, port: int | None = None) -> str:
        """Return the address of a database; `port` is that of a proxy."""
        return POSTGRES_URL.format(port=port or self.port).rpartition("/")[0] + f"/{database}"

    def create_database(self) -> str:
        """Create an empty database and return its name."""
        name = f"chaos_{secrets.token_hex(6)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return name

    def crash(self) -> None:
        """Stop at once, as `pg_ctl stop -m immediate` does: the next start has to recover."""
        self.stop(signal.SIGQUIT)


class Redis(Server):
    """A server without persistence: its data is lost when it stops."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
        super().__init__(["redis-server", "--port", str(port), *options], folder, port)

    def answers(self) -> bool:
        return redis_answers(f"redis://127.0.0.1:{self.port}/0")

    def empty(self) -> None:
        """Remove all data."""
        with redis.Redis(port=self.port) as client:
            client.flushall()


@contextmanager
def private_postgres() -> Iterator[Postgres]:
    """A running cluster; skips the test if PostgreSQL is not installed."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("the programs of a PostgreSQL server (initdb, postgres) are not installed")
    with temporary_folder() as folder:
        server = Postgres(programs, folder)
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGINT)


@contextmanager
def private_redis() -> Iterator[Redis]:
    """A running Redis; skips the test if it is not installed."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    with temporary_folder() as folder:
        server = Redis(folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()
