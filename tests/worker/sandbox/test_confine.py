"""What a confined process can do and cannot: each action is tried by a process that has confined itself."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

PROGRAM = """
import json, sys
from pathlib import Path
from worker.sandbox import Confinement, confine

folder = Path(sys.argv[1])
limits = json.loads(sys.argv[2])
readable = [Path(name) for name in limits.pop("readable", [])]
missing = confine(Confinement(folder=folder, readable=readable, **limits))
def attempt():
{action}
try:
    print(json.dumps({{"missing": missing, "done": attempt()}}))
except BaseException as error:
    print(json.dumps({{"missing": missing, "error": type(error).__name__}}))
"""


# What processes that compute on a CPU and on a GPU are denied alike.
OUTSIDE = [
    "import socket\nreturn socket.create_connection(('127.0.0.1', 1), 1)",
    "import socket\nreturn socket.socket(socket.AF_UNIX)",
    "import os\nreturn os.execv('/bin/true', ['true'])",
    "import os\nreturn os.fork()",
    "import subprocess\nreturn subprocess.run(['true']).returncode",
    "import os\nreturn os.kill(os.getppid(), 0)",
    "import os\nreturn Path(f'/proc/{os.getppid()}/environ').read_text()",
    "import os\nreturn Path(f'/proc/{os.getppid()}/comm').write_text('x')",
    "return (folder.parent / 'secret.txt').read_text()",
    "return (folder.parent / 'other.txt').write_text('x')",
    "return Path('/etc/passwd').read_text()",
    "return [p.name for p in Path('/').iterdir()]",
    "(folder / 'link').symlink_to(folder.parent / 'secret.txt')\nreturn (folder / 'link').read_text()",
]
# The driver of CUDA names its threads and listens like this.
CUDA_NAMES_A_THREAD = """
    import threading
    Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("cuda-EvtHandlr")
    return Path("/proc/self/comm").read_text()
"""
CUDA_LISTENS = """
    import socket
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    listener.bind(f"\\0cuda-uvmfd-{folder}")
    listener.listen()
    listener.setblocking(False)
"""


def attempt(folder: Path, action: str, **confinement: Any) -> dict[str, Any]:
    """Run the body of a function in a confined process; returns what it returned or raised."""
    program = PROGRAM.format(action=textwrap.indent(textwrap.dedent(action), "    "))
    command = [sys.executable, "-c", program, str(folder), json.dumps(confinement, default=str)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    result: dict[str, Any] = json.loads(ended.stdout)
    assert result.pop("missing") == {}, "this kernel does not offer the whole sandbox"
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that the process may work in, beside one that it may not."""
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
@pytest.mark.parametrize("action", OUTSIDE)
def test_what_lies_outside_cannot_be_reached(folder: Path, action: str, gpu: bool) -> None:
    assert attempt(folder, action, gpu=gpu) == {"error": "PermissionError"}


@pytest.mark.parametrize("action", [CUDA_NAMES_A_THREAD, CUDA_LISTENS])
def test_what_cuda_needs_is_denied_where_no_gpu_is_asked_for(folder: Path, action: str) -> None:
    assert attempt(folder, action) == {"error": "PermissionError"}


def test_cuda_may_name_its_threads(folder: Path) -> None:
    assert attempt(folder, CUDA_NAMES_A_THREAD, gpu=True)["done"] == "cuda-EvtHandlr\n"


def test_cuda_may_listen(folder: Path) -> None:
    assert attempt(folder, CUDA_LISTENS, gpu=True)["done"] is None


@pytest.mark.parametrize(
    "use", ["listener.accept()", "socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect(listener.getsockname())"]
)
def test_but_nobody_is_accepted_and_nothing_connected_to(folder: Path, use: str) -> None:
    assert attempt(folder, f"{CUDA_LISTENS}    return {use}", gpu=True) == {"error": "PermissionError"}


@pytest.mark.parametrize("kind", ["AF_INET, socket.SOCK_SEQPACKET", "AF_NETLINK", "AF_UNIX, socket.SOCK_DGRAM"])
def test_other_sockets_are_refused_beside_a_gpu_too(folder: Path, kind: str) -> None:
    assert attempt(folder, f"import socket\nreturn socket.socket(socket.{kind})", gpu=True) == {
        "error": "PermissionError"
    }


def test_work_goes_on(folder: Path) -> None:
    action = """
        import threading
        import numpy
        (folder / "a").write_text("result")
        (folder / "a").replace(folder / "b")
        seen = []
        thread = threading.Thread(target=lambda: seen.append(int(numpy.ones((500, 500)).dot(numpy.ones(500)).sum())))
        thread.start()
        thread.join()
        return [(folder / "b").read_text(), seen]
    """
    assert attempt(folder, action)["done"] == ["result", [250_000]]


def test_what_is_readable_can_be_read_and_not_written(folder: Path) -> None:
    data = folder.parent / "data"
    data.mkdir()
    (data / "x").write_text("images")
    assert attempt(folder, f"return Path('{data}/x').read_text()", readable=[data])["done"] == "images"
    assert attempt(folder, f"return Path('{data}/x').write_text('y')", readable=[data])["error"] == "PermissionError"


def test_memory_beyond_the_limit_is_not_given(folder: Path) -> None:
    action = "return len(bytearray(600 * 2**20))"
    assert attempt(folder, action, memory_bytes=500 * 2**20)["error"] == "MemoryError"
    assert attempt(folder, action, memory_bytes=900 * 2**20)["done"] == 600 * 2**20


def test_a_file_beyond_the_limit_is_not_written(folder: Path) -> None:
    action = "return (folder / 'x').write_bytes(bytes(3000))"
    assert attempt(folder, action, file_bytes=2000)["error"] == "OSError"
    assert attempt(folder, action, file_bytes=4000)["done"] == 3000
