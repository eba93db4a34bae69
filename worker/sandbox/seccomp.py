"""seccomp: a process drops the system calls that a computation does not need.

On a CPU, the calls in `system_calls.ALLOWED` remain, and a few others with harmless arguments: threads but no
processes, signals and limits of this process only, memory that is counted. All other calls fail with EPERM. Calls in no
list here are written to the kernel's log, because they are an attack, or a library that needs something new.

On a GPU, calls known to be harmful and calls newer than the tables are refused; all others remain. CUDA's driver
creates a Unix socket of sequenced packets, binds it to an abstract name and listens there, for processes that would
share its memory, and fails without that. So a process that computes on a GPU keeps such sockets, but cannot accept or
make connections.
"""

import ctypes
import errno
import os
import platform
import socket
from contextlib import suppress

from worker.sandbox import bpf
from worker.sandbox.bpf import ALLOW, LOAD_ARCHITECTURE, LOAD_NUMBER, NO_SUCH_CALL, REFUSE, Program
from worker.sandbox.kernel import prctl, system_call
from worker.sandbox.system_calls import ALLOWED, FILTERED, FIRST_UNKNOWN, MACHINES, REFUSED_BESIDE_A_GPU, numbers_of

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_SET_MODE_FILTER, _FLAG_LOG = 1, 2
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# Calls of the x32 interface of x86_64 have this bit; nothing needs them.
_X32_BIT = 0x40000000
_CLONE_THREAD, _CLONE_FILES = 0x00010000, 0x00000400
_CLONE_NAMESPACES = 0x7E020000
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20
_SOCKET_TYPE_BITS = 0xF
# fcntl: descriptors and flags. Not locks, signal owners of files, sizes of pipes, or notifications about folders.
_FCNTL_ALLOWED = (*range(5), 1030)
# close_range: immediately, or when a program starts.
_CLOSE_RANGE_ALLOWED = (0, 4)
# fallocate: only to free space of a file.
_PUNCH_HOLE = 3
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX, _F_SETLEASE, _F_NOTIFY, _F_SETPIPE_SZ = 8, 10, 15, 1024, 1026, 1031
_FCNTL_REFUSED = (_F_SETOWN, _F_SETSIG, _F_SETOWN_EX, _F_SETLEASE, _F_NOTIFY, _F_SETPIPE_SZ)
# ioctl: check for a terminal and its width, readable bytes, flags of the descriptor.
_IOCTL_ALLOWED = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
# prctl: names of threads and of memory. Not the signal at the parent's end.
_PRCTL_ALLOWED = (15, 16, 0x53564D41)
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_PTRACER = 1, 4, 0x59616D61


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def restrict_system_calls(*, gpu: bool = False) -> None:
    """Refuse the calls from now on, in all future threads. Needs `limits.forbid_new_privileges`. Raises `OSError`."""
    machine = platform.machine()
    if machine not in MACHINES:
        raise OSError(errno.ENOSYS, f"the system calls of {machine} are not known")
    prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(_filter(_program(machine, gpu=gpu))), 0, 0)
    if not gpu:
        _log_unknown_calls(machine)


def _log_unknown_calls(machine: str) -> None:
    """Log calls that no list names, with a second filter that refuses them. The first filter refuses them anyway."""
    named = numbers_of(ALLOWED | FILTERED | REFUSED_BESIDE_A_GPU, machine).values()
    program = [
        *LOAD_NUMBER,
        *(part for number in named for part in bpf.if_equal(number, ALLOW)),
        *bpf.if_at_least(FIRST_UNKNOWN, ALLOW),
        *REFUSE,
    ]
    number = numbers_of(FILTERED, machine)["seccomp"]
    with suppress(OSError):  # Linux before 4.14 cannot log
        system_call(number, _SET_MODE_FILTER, _FLAG_LOG, ctypes.byref(_filter(program)))


def _filter(program: Program) -> _Filter:
    instructions = b"".join(program)
    return _Filter(len(instructions) // 8, instructions)


def _program(machine: str, *, gpu: bool) -> Program:
    """Return the whole filter: it refuses calls of another architecture, then decides by the number."""
    filtered = numbers_of(FILTERED, machine)
    looked_at = {number: _by_arguments(gpu=gpu)[name] for name, number in filtered.items()}
    others = numbers_of(REFUSED_BESIDE_A_GPU, machine) if gpu else numbers_of(ALLOWED, machine)
    looked_at |= dict.fromkeys(others.values(), REFUSE if gpu else ALLOW)
    return [
        *LOAD_ARCHITECTURE,
        *bpf.unless_equal(_ARCHITECTURES[machine], REFUSE),
        *LOAD_NUMBER,
        *bpf.if_at_least(_X32_BIT, REFUSE),
        *(part for number, program in looked_at.items() for part in bpf.if_equal(number, program)),
        *bpf.if_at_least(FIRST_UNKNOWN, NO_SUCH_CALL),
        *(ALLOW if gpu else REFUSE),
    ]


def _by_arguments(*, gpu: bool) -> dict[str, Program]:
    """Return the program for each call that depends on its arguments."""
    own = (0, os.getpid())
    return {
        "clone": [
            *bpf.load_argument(0),
            *bpf.unless_any_bit(_CLONE_THREAD, REFUSE),
            # A thread with its own descriptors would hide files from the supervisor.
            *bpf.unless_any_bit(_CLONE_FILES, REFUSE),
            *bpf.if_any_bit(_CLONE_NAMESPACES, REFUSE),
            *ALLOW,
        ],
        # The C library then starts threads with `clone`, whose flags can be checked.
        "clone3": NO_SUCH_CALL,
        # The flag to unshare would give a thread its own descriptors.
        "close_range": bpf.allow_only(2, _CLOSE_RANGE_ALLOWED),
        # Reserving space fills a disk at once, before the supervisor looks; other modes exceed the limit on file sizes.
        "fallocate": bpf.allow_only(1, (_PUNCH_HOLE,)),
        # Another filter can only remove rights.
        "seccomp": bpf.allow_only(1, (_FLAG_LOG,)),
        "socket": _socket_of_cuda() if gpu else REFUSE,
        "prlimit64": bpf.allow_only(0, own),
        "sched_setaffinity": ALLOW if gpu else bpf.allow_only(0, own),
        # 0 is the process group, in which a runner is alone.
        "kill": bpf.allow_only(0, own),
        "tgkill": bpf.allow_only(0, own),
        "fcntl": bpf.allow_all_but(1, _FCNTL_REFUSED) if gpu else bpf.allow_only(1, _FCNTL_ALLOWED),
        "ioctl": bpf.allow_all_but(1, (_TIOCSTI, _TIOCLINUX)) if gpu else bpf.allow_only(1, _IOCTL_ALLOWED),
        "prctl": bpf.allow_all_but(0, (_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_PTRACER))
        if gpu
        else bpf.allow_only(0, _PRCTL_ALLOWED),
        "open": _open_that_is_seen(1),
        "openat": _open_that_is_seen(2),
        "mmap": ALLOW if gpu else _mmap_that_is_counted(),
    }


def _open_that_is_seen(flags: int) -> Program:
    """Refuse to open for reading and truncate at once, which a Landlock older than Linux 6.2 does not check."""
    truncates = [*bpf.keep_bits(os.O_TRUNC | os.O_ACCMODE), *bpf.if_equal(os.O_TRUNC | os.O_RDONLY, REFUSE)]
    return [*bpf.load_argument(flags), *truncates, *ALLOW]


def _mmap_that_is_counted() -> Program:
    """Refuse shared memory without a file, which stays allocated, but is not counted, when it is not mapped."""
    both = _MAP_SHARED | _MAP_ANONYMOUS
    return [*bpf.load_argument(3), *bpf.keep_bits(both), *bpf.if_equal(both, REFUSE), *ALLOW]


def _socket_of_cuda() -> Program:
    """Allow only a Unix socket of sequenced packets."""
    return [
        *bpf.load_argument(0),
        *bpf.unless_equal(socket.AF_UNIX, REFUSE),
        *bpf.load_argument(1),
        *bpf.keep_bits(_SOCKET_TYPE_BITS),
        *bpf.unless_equal(socket.SOCK_SEQPACKET, REFUSE),
        *ALLOW,
    ]
