"""seccomp: a process takes from itself the system calls that a computation never needs.

A filter in the kernel's classic BPF refuses sockets, programs, processes and whatever looks into other ones; all
else, files and memory first, stays as it is.
"""

import ctypes
import errno
import platform
import struct
from dataclasses import dataclass

from worker.sandbox.kernel import prctl

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
# Classic BPF: load a 32-bit word of the call's data; jump if equal, if not smaller, if a bit is set; return.
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _FAIL_WITH = 0x7FFF0000, 0x00050000
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _FIRST_ARGUMENT_OFFSET = 0, 4, 16
_CLONE_THREAD = 0x00010000
# Calls of the x32 interface of x86_64 have this bit; there is no reason to use it.
_X32_BIT = 0x40000000


@dataclass(frozen=True, kw_only=True, slots=True)
class _Architecture:
    """Numbers of system calls (from the kernel's tables) and the architecture's own number."""

    audit: int
    clone: int
    clone3: int
    refused: dict[str, int]


_ARCHITECTURES = {
    "x86_64": _Architecture(
        audit=0xC000003E,
        clone=56,
        clone3=435,
        refused={
            "socket": 41,
            "fork": 57,
            "vfork": 58,
            "execve": 59,
            "ptrace": 101,
            "mount": 165,
            "umount2": 166,
            "init_module": 175,
            "kexec_load": 246,
            "add_key": 248,
            "request_key": 249,
            "keyctl": 250,
            "unshare": 272,
            "perf_event_open": 298,
            "setns": 308,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "finit_module": 313,
            "bpf": 321,
            "execveat": 322,
            "userfaultfd": 323,
            "io_uring_setup": 425,
            "pidfd_getfd": 438,
        },
    ),
    "aarch64": _Architecture(
        audit=0xC00000B7,
        clone=220,
        clone3=435,
        refused={
            "umount2": 39,
            "mount": 40,
            "unshare": 97,
            "kexec_load": 104,
            "init_module": 105,
            "ptrace": 117,
            "socket": 198,
            "add_key": 217,
            "request_key": 218,
            "keyctl": 219,
            "execve": 221,
            "perf_event_open": 241,
            "setns": 268,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "finit_module": 273,
            "bpf": 280,
            "execveat": 281,
            "userfaultfd": 282,
            "io_uring_setup": 425,
            "pidfd_getfd": 438,
        },
    ),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def restrict_system_calls() -> None:
    """Refuse the calls from now on, in all threads to come. Needs `limits.forbid_new_privileges`. Raises `OSError`."""
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None:
        raise OSError(errno.ENOSYS, f"the system calls of {platform.machine()} are not known")
    instructions = b"".join(_filter(architecture))
    program = _Program(len(instructions) // 8, instructions)
    prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0)


def _filter(architecture: _Architecture) -> list[bytes]:
    """The instructions: calls of another architecture and refused ones fail, threads may start, processes may not."""
    refuse = [_instruction(_RETURN, _FAIL_WITH | errno.EPERM)]
    return [
        _instruction(_LOAD, _ARCHITECTURE_OFFSET),
        _instruction(_IF_EQUAL, architecture.audit, if_true=1),
        *refuse,
        _instruction(_LOAD, _NUMBER_OFFSET),
        _instruction(_IF_AT_LEAST, _X32_BIT, if_false=1),
        *refuse,
        # The C library then starts threads by `clone`, whose flags can be looked at.
        _instruction(_IF_EQUAL, architecture.clone3, if_false=1),
        _instruction(_RETURN, _FAIL_WITH | errno.ENOSYS),
        *(
            part
            for number in architecture.refused.values()
            for part in (_instruction(_IF_EQUAL, number, if_false=1), *refuse)
        ),
        _instruction(_IF_EQUAL, architecture.clone, if_false=3),
        _instruction(_LOAD, _FIRST_ARGUMENT_OFFSET),
        _instruction(_IF_BITS, _CLONE_THREAD, if_true=1),
        *refuse,
        _instruction(_RETURN, _ALLOW),
    ]


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction; the jumps skip so many of the following ones."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
