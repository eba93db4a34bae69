"""Kernel calls that Python has no function for."""

import ctypes
import os


def prctl(option: int, *arguments: object) -> None:
    """Set an attribute of this process. Raises `OSError`."""
    _checked(_libc().prctl(option, *arguments))


def capset(header: object, sets: object) -> None:
    """Change the capabilities of this thread. Raises `OSError`."""
    _checked(_libc().capset(header, sets))


def system_call(number: int, *arguments: object) -> int:
    """Make a system call by its number and return the result. Raises `OSError`."""
    return _checked(_libc().syscall(number, *arguments))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
