"""Landlock: a process drops its right to all files but some (Linux 5.13 and newer)."""

import ctypes
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from worker.sandbox.kernel import system_call

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_ASK_FOR_VERSION = 1
_WRITE_FILE, _READ_FILE, _READ_FOLDER = 1 << 1, 1 << 2, 1 << 3
_OPEN_DEVICE = _READ_FILE | _READ_FOLDER | _WRITE_FILE
_FIRST_RIGHTS = (1 << 13) - 1
# Rights of later versions of the interface: moving between folders, truncating, commands to devices.
_MOVE, _TRUNCATE, _DEVICE_COMMANDS = 1 << 13, 1 << 14, 1 << 15
_LATER_RIGHTS = {2: _MOVE, 3: _TRUNCATE, 5: _DEVICE_COMMANDS}
# Rights in the own folder: regular files and folders, no programs, devices, sockets, pipes or links.
_EXECUTE, _MAKE_CHARACTER_DEVICE, _MAKE_SOCKET, _MAKE_PIPE, _MAKE_BLOCK_DEVICE, _MAKE_LINK = (
    1 << bit for bit in (0, 6, 9, 10, 11, 12)
)
_NOT_IN_FOLDER = (
    _EXECUTE | _MAKE_CHARACTER_DEVICE | _MAKE_SOCKET | _MAKE_PIPE | _MAKE_BLOCK_DEVICE | _MAKE_LINK | _DEVICE_COMMANDS
)
_NETWORK_VERSION, _BIND_AND_CONNECT = 4, 0b11
_SCOPE_VERSION, _ABSTRACT_SOCKETS_AND_SIGNALS = 6, 0b11
# Files that Python, numpy, torch and matplotlib read. None is secret. In /proc only the own process is included,
# because the environment of another process may contain passwords.
_SYSTEM = (
    *("/usr", "/lib", "/lib64", "/sys", "/etc/ld.so.cache", "/etc/localtime", "/etc/fonts"),
    *(
        "/proc/self",
        "/proc/cpuinfo",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/filesystems",
    ),
)
# Files that CUDA's driver also reads, and those that it writes thread names to; it fails without them.
_SYSTEM_OF_CUDA, _THREADS = ("/proc/devices", "/proc/driver", "/proc/modules", "/proc/sys/vm"), Path("/proc/self/task")
# Without /dev/zero and /dev/shm, which are memory that is not counted.
_DEVICES = ("/dev/null", "/dev/urandom", "/dev/random")
_DEVICES_OF_CUDA = ("/dev/zero", "/dev/shm")  # noqa: S108 # the device, not a file
_PACKAGES = ("nern_core", "worker", "app")
_ROOT = Path(__file__).parent.parent.parent


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def restrict_files(folder: Path, readable: Sequence[Path], *, gpu: bool = False) -> None:
    """Restrict this process to `folder`, the `readable` files, and the files that Python and a `gpu` need.

    Raises `OSError`. Call `limits.forbid_new_privileges` first. If the kernel supports it, connections and signals to
    processes outside are also forbidden.
    """
    version = _call(_CREATE_RULESET, None, 0, _ASK_FOR_VERSION)
    rights = _FIRST_RIGHTS
    for since, right in _LATER_RIGHTS.items():
        rights |= right if version >= since else 0
    attributes = _RulesetAttributes(
        files=rights,
        network=_BIND_AND_CONNECT if version >= _NETWORK_VERSION else 0,
        scoped=_ABSTRACT_SOCKETS_AND_SIGNALS if version >= _SCOPE_VERSION else 0,
    )
    ruleset = _call(_CREATE_RULESET, ctypes.byref(attributes), _size_for(version), 0)
    try:
        _allow(ruleset, folder, rights & ~_NOT_IN_FOLDER)
        for path in (*map(Path, _SYSTEM), *_python(), *readable):
            _allow(ruleset, path, _READ_FILE | _READ_FOLDER)
        for device in map(Path, (*_DEVICES, *(_DEVICES_OF_CUDA if gpu else ()))):
            _allow(ruleset, device, _OPEN_DEVICE)
        if gpu:
            for path in map(Path, _SYSTEM_OF_CUDA):
                _allow(ruleset, path, _READ_FILE | _READ_FOLDER)
            for path in (*Path("/dev").glob("nvidia*"), _THREADS):
                _allow(ruleset, path, _OPEN_DEVICE | rights & (_TRUNCATE | _DEVICE_COMMANDS))
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _python() -> list[Path]:
    """Return the folders of the interpreter, its packages and this program."""
    added = [Path(folder) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    return [*(_ROOT / package for package in _PACKAGES), Path(sys.prefix), Path(sys.base_prefix), *added]


def _size_for(version: int) -> int:
    """Return the size in bytes of the attributes of this version."""
    known = 1 + (version >= _NETWORK_VERSION) + (version >= _SCOPE_VERSION)
    return known * ctypes.sizeof(ctypes.c_uint64)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    """Keep these rights for everything below a path; skip a path that is missing or unreachable."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not path.is_dir():
            rights &= _READ_FILE | _WRITE_FILE | _TRUNCATE | _DEVICE_COMMANDS
        beneath = _PathBeneath(allowed=rights, folder=descriptor)
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(beneath), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    try:
        return system_call(number, *arguments)
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EOPNOTSUPP}:
            raise OSError(error.errno, "this kernel has no Landlock") from error
        raise
