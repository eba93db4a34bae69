import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

# A parent that starts a child in a thread that ends, prints the child's id, and waits.
_PARENT = """
import os, sys, threading, time
from app.kit.parent_process import start_bound_child
child = "import sys, time; from app.kit import parent_process as p; p.end_with_parent(sys.argv[-1]); time.sleep(60)"
def start():
    print(start_bound_child([sys.executable, "-c", child], os.environ).pid, flush=True)
thread = threading.Thread(target=start)
thread.start()
thread.join()
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("seconds", [0.0, 1.5], ids=["while it starts", "when it runs"])
def test_a_child_ends_when_its_parent_is_killed_and_not_before(seconds: float) -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(seconds)
        assert is_running(pid)
        parent.kill()
    try:
        deadline = time.monotonic() + 20
        while is_running(pid):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)
