"""Capabilities, the special rights of root. A runner has none and cannot regain any."""

import ctypes
import errno
from pathlib import Path

from worker.sandbox.kernel import capset, prctl

_PR_CAPBSET_DROP, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _CLEAR_ALL = 24, 28, 47, 4
# Root has no special rights, capabilities do not survive a change of user, and none become ambient; each is locked.
_SECURE_BITS = 0b11101111
_LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")
_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def drop_capabilities() -> None:
    """Drop all capabilities. Raises `OSError`.

    A process without any cannot lock the bits above, and does not need to: `limits.forbid_new_privileges` prevents it
    from gaining any.
    """
    prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    try:
        for capability in range(int(_LAST_CAPABILITY.read_text()) + 1):
            prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        prctl(_PR_SET_SECUREBITS, _SECURE_BITS, 0, 0, 0)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
    capset(ctypes.byref(_Header(_VERSION_3, 0)), ctypes.byref((_Sets * 2)()))
