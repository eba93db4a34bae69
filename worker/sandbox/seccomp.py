"""seccomp: a process takes from itself the system calls that a computation never needs.

A filter in the kernel's classic BPF refuses sockets, programs, processes and whatever looks into other ones; all
else, files and memory first, stays as it is.

CUDA's driver makes a Unix socket of sequenced packets, binds it to an abstract name and listens there, for processes
that would share its memory, and gives up if it may not. So a process that computes on a GPU keeps such sockets, but
accepts nobody, and connects to nothing.
"""

import ctypes
import errno
import platform
import socket
import struct
from dataclasses import dataclass

from worker.sandbox.kernel import prctl

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
# Classic BPF: load a 32-bit word of the call's data; jump if equal, if not smaller, if a bit is set; return; keep some
# bits of what was loaded.
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _RETURN, _KEEP_BITS = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
_ALLOW, _FAIL_WITH = 0x7FFF0000, 0x00050000
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _FIRST_ARGUMENT_OFFSET, _SECOND_ARGUMENT_OFFSET = 0, 4, 16, 24
_SOCKET_TYPE_BITS = 0xF
_CLONE_THREAD = 0x00010000
# Calls of the x32 interface of x86_64 have this bit; there is no reason to use it.
_X32_BIT = 0x40000000


@dataclass(frozen=True, kw_only=True, slots=True)
class _Architecture:
    """Numbers of system calls (from the kernel's tables) and the architecture's own number."""

    audit: int
    clone: int
    clone3: int
    socket: int
    refused: dict[str, int]


_ARCHITECTURES = {
    "x86_64": _Architecture(
        audit=0xC000003E,
        clone=56,
        clone3=435,
        socket=41,
        refused={
            "connect": 42,
            "accept": 43,
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
            "accept4": 288,
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
        socket=198,
        refused={
            "umount2": 39,
            "mount": 40,
            "unshare": 97,
            "kexec_load": 104,
            "init_module": 105,
            "ptrace": 117,
            "accept": 202,
            "connect": 203,
            "add_key": 217,
            "request_key": 218,
            "keyctl": 219,
            "execve": 221,
            "perf_event_open": 241,
            "accept4": 242,
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


def restrict_system_calls(*, gpu: bool = False) -> None:
    """Refuse the calls from now on, in all threads to come. Needs `limits.forbid_new_privileges`. Raises `OSError`."""
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None:
        raise OSError(errno.ENOSYS, f"the system calls of {platform.machine()} are not known")
    instructions = b"".join(_filter(architecture, gpu=gpu))
    program = _Program(len(instructions) // 8, instructions)
    prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0)


def _filter(architecture: _Architecture, *, gpu: bool) -> list[bytes]:
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
        *_only(architecture.socket, _is_a_socket_of_cuda() if gpu else []),
        *_only(
            architecture.clone,
            [_instruction(_LOAD, _FIRST_ARGUMENT_OFFSET), _instruction(_IF_BITS, _CLONE_THREAD, if_true=1)],
        ),
        _instruction(_RETURN, _ALLOW),
    ]


def _only(number: int, passes: list[bytes]) -> list[bytes]:
    """Refuse the calls of this number but those for which `passes` skips one instruction."""
    end = [_instruction(_RETURN, _FAIL_WITH | errno.EPERM), _instruction(_RETURN, _ALLOW)]
    return [_instruction(_IF_EQUAL, number, if_false=len(passes) + len(end)), *passes, *end]


def _is_a_socket_of_cuda() -> list[bytes]:
    """Skip one instruction if it is a Unix socket of sequenced packets."""
    return [
        _instruction(_LOAD, _FIRST_ARGUMENT_OFFSET),
        _instruction(_IF_EQUAL, socket.AF_UNIX, if_false=3),
        _instruction(_LOAD, _SECOND_ARGUMENT_OFFSET),
        _instruction(_KEEP_BITS, _SOCKET_TYPE_BITS),
        _instruction(_IF_EQUAL, socket.SOCK_SEQPACKET, if_true=1),
    ]


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction; the jumps skip so many of the following ones."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
