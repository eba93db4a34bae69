"""The demonstration of `make demo` stops the service that it starts."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# A service that says when it was stopped properly.
SERVICE = """#!/bin/sh
trap 'echo stopped > stopped; exit 0' INT
echo up > up
while :; do sleep 0.1; done
"""
DEMONSTRATION = """
import sys, time
from pathlib import Path
from scripts import demo

demo.OUTPUT = Path()
sys.executable = str(Path("python").resolve())
with demo.service(1):
    while not Path("up").exists():
        time.sleep(0.05)
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demonstration_that_is_stopped_stops_its_service(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "nern").write_text(SERVICE)
    (tmp_path / "nern").chmod(0o755)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{DEMONSTRATION}"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as demonstration:
        assert demonstration.stdout is not None
        while demonstration.stdout.readline() != b"ready\n":
            pass
        demonstration.send_signal(number)
        demonstration.wait(30)
    assert (tmp_path / "stopped").exists()
