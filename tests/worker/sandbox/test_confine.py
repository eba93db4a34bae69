"""Try actions in a confined process: those that must fail, and those that must succeed."""

import errno
import json
import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

PROGRAM = """
import ctypes, json, os, platform, resource, socket, stat, sys
from pathlib import Path
from worker.sandbox import Confinement, confine
from worker.sandbox.kernel import system_call
from worker.sandbox.system_calls import FILTERED, REFUSED_BESIDE_A_GPU, numbers_of

parent = os.getppid()
numbers = numbers_of(FILTERED | REFUSED_BESIDE_A_GPU, platform.machine())
def call(name, *arguments):
    return system_call(numbers[name], *arguments)

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


# Denied to processes on a CPU and on a GPU.
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
    # Other processes of the same user.
    "return resource.prlimit(parent, resource.RLIMIT_NOFILE, (0, 0))",
    "return os.setpriority(os.PRIO_PROCESS, parent, 19)",
    "return call('ioprio_set', 1, parent, 3 << 13)",
    "return call('sched_setscheduler', parent, 0, ctypes.byref(ctypes.c_int(0)))",
    "return call('tkill', parent, 0)",
    "return call('rt_sigqueueinfo', parent, 0, None)",
    "import fcntl\nreturn fcntl.fcntl(0, fcntl.F_SETOWN, parent)",
    "return call('pidfd_open', parent, 0)",
    "return call('migrate_pages', parent, 0, None, None)",
    # Modes, owners, times and names of files, including readable ones.
    "return (folder.parent / 'secret.txt').chmod(0)",
    "return os.fchmod(os.open(json.__file__, os.O_RDONLY), 0)",
    "return os.chown(folder.parent / 'secret.txt', os.getuid(), os.getgid())",
    "return os.utime(folder.parent / 'secret.txt', (0, 0))",
    "return os.setxattr(folder.parent / 'secret.txt', 'user.x', b'x')",
    "return os.truncate(folder.parent / 'secret.txt', 0)",
    "return call('inotify_init1', 0)",
    "return call('fanotify_init', 0, 0)",
    "return call('name_to_handle_at', -100, b'/etc', None, None, 0)",
    # Disk space beyond the limit on the size of a file, without any data.
    "return call('fallocate', os.open(folder / 'x', os.O_RDWR | os.O_CREAT), 1, ctypes.c_long(0), ctypes.c_long(4096))",
    "return call('fallocate', os.open(folder / 'x', os.O_RDWR | os.O_CREAT), 0, ctypes.c_long(0), ctypes.c_long(4096))",
    # Threads with their own descriptors, which hide open files.
    "return call('close_range', 1000, 1000, 2)",
    "return call('clone', 0x10b00, None, None, None, None)",
    # Memory that is not counted.
    "return call('shmget', 0, 4096, 0o1600)",
    "return call('msgget', 0, 0o1600)",
    "return call('semget', 0, 1, 0o1600)",
    # Devices and other special files.
    "return os.mknod(folder / 'disk', stat.S_IFBLK | 0o600, os.makedev(7, 0))",
    "return os.mknod(folder / 'null', stat.S_IFCHR | 0o600, os.makedev(1, 3))",
    "return os.mkfifo(folder / 'pipe')",
    # Rights of root.
    "return os.chroot(folder)",
    "return call('fsopen', b'tmpfs', 0)",
    "return call('mount', b'none', bytes(folder), b'tmpfs', 0, None)",
    "return call('unshare', 0x10000000)",
    "return socket.sethostname('x')",
    "return os.setuid(os.getuid())",
    "return call('capset', None, None)",
    # Outliving the supervisor.
    "from worker.sandbox.kernel import prctl\nreturn prctl(1, 0)",
]
# Needed by CUDA, denied without a GPU.
DENIED_ON_A_CPU = [
    "return os.sched_setaffinity(parent, {0})",
    "return os.memfd_create('x')",
    "import mmap\nreturn mmap.mmap(-1, 4096).size()",
    "return Path('/dev/shm/x').write_text('x')",
    "return os.open('/dev/zero', os.O_RDWR)",
    "import fcntl\nreturn fcntl.fcntl(os.pipe()[0], 1031, 2**20)",
    # Locks on other files, in unlimited number.
    "import fcntl\nreturn fcntl.flock(os.open(json.__file__, os.O_RDONLY), fcntl.LOCK_EX)",
    "import fcntl\nreturn fcntl.lockf(os.open(folder / 'x', os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)",
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


def attempt(folder: Path, action: str, *, program: str = PROGRAM, **confinement: Any) -> dict[str, Any]:
    """Run the body of a function in a confined process; return its result or exception."""
    program = program.format(action=textwrap.indent(textwrap.dedent(action), "    "))
    command = [sys.executable, "-c", program, str(folder), json.dumps(confinement, default=str)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    result: dict[str, Any] = json.loads(ended.stdout)
    assert result.pop("missing") == {}, "this kernel does not offer the whole sandbox"
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that the process may use, beside one that it may not."""
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
@pytest.mark.parametrize("action", OUTSIDE)
def test_what_lies_outside_cannot_be_reached(folder: Path, action: str, gpu: bool) -> None:
    assert attempt(folder, action, gpu=gpu) == {"error": "PermissionError"}


@pytest.mark.parametrize("action", [CUDA_NAMES_A_THREAD, CUDA_LISTENS, *DENIED_ON_A_CPU])
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


def test_no_capability_is_left(folder: Path) -> None:
    action = """
        lines = Path("/proc/self/status").read_text().splitlines()
        return {line.split()[0]: int(line.split()[1], 16) for line in lines if line.startswith(("CapEff", "CapPrm"))}
    """
    assert attempt(folder, action)["done"] == {"CapPrm:": 0, "CapEff:": 0}


@pytest.mark.skipif(os.geteuid() != 0, reason="others cannot lower the bound, and need not")
def test_root_cannot_get_a_capability_back(folder: Path) -> None:
    action = "return [line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('CapBnd')]"
    assert attempt(folder, action)["done"] == ["CapBnd:\t" + "0" * 16]


@pytest.mark.parametrize(
    "action",
    [
        "return os.kill(parent, 0)",
        "return call('tgkill', parent, parent, 0)",
        "return os.open(folder.parent / 'secret.txt', os.O_RDONLY | os.O_TRUNC)",
    ],
)
def test_signals_to_others_and_hidden_truncation_are_refused_without_landlock_too(folder: Path, action: str) -> None:
    program = PROGRAM.replace(
        "folder = Path", "confine.__globals__['restrict_files'] = lambda *folders, **options: None\nfolder = Path", 1
    )
    assert attempt(folder, action, program=program)["error"] == "PermissionError"


def test_a_process_may_send_signals_to_itself(folder: Path) -> None:
    assert attempt(folder, "return os.kill(os.getpid(), 0)")["done"] is None


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
def test_a_call_that_is_newer_than_the_tables_does_not_exist(folder: Path, gpu: bool) -> None:
    action = """
        from worker.sandbox.system_calls import FIRST_UNKNOWN
        try:
            system_call(FIRST_UNKNOWN)
        except OSError as error:
            return error.errno
    """
    assert attempt(folder, action, gpu=gpu)["done"] == errno.ENOSYS


def test_files_cannot_be_hidden_in_a_pair_of_sockets(folder: Path) -> None:
    action = """
        import socket
        one, _ = socket.socketpair()
        return socket.send_fds(one, [b"x"], [os.memfd_create("x")])
    """
    assert attempt(folder, action, gpu=True) == {"error": "PermissionError"}


def test_a_readable_folder_that_cannot_be_reached_leaves_the_confinement_whole(folder: Path) -> None:
    beneath_a_file = folder.parent / "secret.txt" / "data"
    action = "return (folder.parent / 'secret.txt').read_text()"
    assert attempt(folder, action, readable=[beneath_a_file]) == {"error": "PermissionError"}


def test_a_call_that_no_list_names_is_refused(folder: Path) -> None:
    sync = {"x86_64": 162, "aarch64": 81}[platform.machine()]
    assert attempt(folder, f"return system_call({sync})")["error"] == "PermissionError"


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
