import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.processes import NERN, Client, children_of, free_port, has_torch, is_running, process, wait_for
from tests.service.conftest import Refusal


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("NERN_")}


@pytest.mark.slow
@pytest.mark.gate
def test_serve_runs_everything_in_one_folder_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    port, data = free_port(), tmp_path / "data"
    for package in ("app", "worker"):
        # Modules in the working folder must not shadow those of the service.
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise ImportError('the wrong one')")
    command = [NERN, "serve", "--data-dir", str(data), "--port", str(port)]
    with Client(port) as client, process(command, environment(), tmp_path / "log", tmp_path) as server:
        wait_for(client.is_ready, what="the service did not start")
        address = client.submit(architecture="digits-cnn", representation="predictor", seconds=8)
        client.training(address)
        family = children_of(server.pid)
        assert sorted(has_torch(pid) for pid in family) == [False, False, True]
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
        assert not any(is_running(pid) for pid in family)
    assert (data / "nern.db").is_file()
    with Client(port) as client, process(command, environment(), tmp_path / "log", tmp_path):
        wait_for(client.is_ready, what="the service did not start again")
        job = client.ended(address)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    log = (tmp_path / "log").read_text()
    assert f"Serving on http://127.0.0.1:{port}" in log
    assert log.count("Stopped.") == 2
    assert "Traceback" not in log


@pytest.mark.slow
def test_serve_that_is_killed_takes_everything_with_it_and_starts_again_at_once(tmp_path: Path) -> None:
    port = free_port()
    command = [NERN, "serve", "--data-dir", str(tmp_path / "data"), "--port", str(port)]
    with Client(port) as client, process(command, environment(), tmp_path / "log", tmp_path) as server:
        wait_for(client.is_ready, what="the service did not start")
        client.training(client.submit(architecture="digits-cnn", representation="predictor", seconds=60))
        family = children_of(server.pid)
        assert len(family) == 3
        server.kill()
        wait_for(lambda: not any(is_running(pid) for pid in family), what="a child went on")
    with Client(port) as client, process(command, environment(), tmp_path / "log", tmp_path):
        wait_for(client.is_ready, what="the service did not start again")


def worker_of(server: "subprocess.Popen[bytes]") -> int | None:
    """Return the process id of the running worker of `nern serve`."""
    for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split():
        with suppress(OSError):
            if is_running(int(pid)) and b"worker.celery_app" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
    return None


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_runs_its_job_again(tmp_path: Path) -> None:
    port = free_port()
    command = [NERN, "serve", "--data-dir", str(tmp_path / "data"), "--port", str(port)]
    with (
        Client(port) as client,
        process(command, environment() | {"NERN_LEASE": "5"}, tmp_path / "log", tmp_path) as server,
    ):
        wait_for(client.is_ready, what="the service did not start")
        address = client.submit(architecture="digits-cnn", representation="predictor", seconds=4)
        client.training(address)
        os.kill(wait_for(lambda: worker_of(server)), signal.SIGKILL)
        job = client.ended(address)
        assert server.poll() is None
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    log = (tmp_path / "log").read_text()
    assert (
        "nern: The worker was killed by signal 9 (SIGKILL), perhaps because memory ran out; it is started again.\n"
        in log
    )
    assert log.endswith("Stopped.\n")


@pytest.mark.slow
def test_serve_ends_when_its_worker_is_killed_for_the_fourth_time(tmp_path: Path) -> None:
    command = [NERN, "serve", "--data-dir", str(tmp_path / "data"), "--port", str(free_port())]
    killed: list[int] = []

    def next_worker() -> int | None:
        found = worker_of(server)
        return None if found in killed else found

    with process(command, environment(), tmp_path / "log", tmp_path) as server:
        for _ in range(4):
            assert server.poll() is None
            killed.append(wait_for(next_worker))
            os.kill(killed[-1], signal.SIGKILL)
        assert server.wait(60) == 1
    log = (tmp_path / "log").read_text()
    assert log.count("; it is started again.") == 3
    assert log.endswith("nern: The worker was killed by signal 9 (SIGKILL), perhaps because memory ran out.\n")


def test_serve_says_when_its_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [NERN, "serve", "--data-dir", str(tmp_path / "data"), "--port", port]
        ended = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert f"Port {port} is in use" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", ["serve", "api"])
def test_a_service_without_keys_does_not_start_on_an_open_address(refusal: Refusal, command: str) -> None:
    told = refusal(command, "--host", "0.0.0.0", "--port", str(free_port()))
    assert "set NERN_AUTHENTICATION=keys to listen on 0.0.0.0" in told
