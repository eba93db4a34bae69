"""Programs for the kernel's classic BPF that decide about a system call, composed of parts.

The kernel describes a call by its number, the architecture, and six arguments of 64 bits. Programs here check the lower
half of an argument. A program ends with an answer: allow, refuse, or "no such call".
"""

import errno
import struct
from collections.abc import Iterable

# Load a 32-bit word of the call's data; jump if equal, if greater or equal, if a bit is set; return; mask bits.
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _RETURN, _KEEP_BITS = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _FIRST_ARGUMENT_OFFSET, _ARGUMENT_BYTES = 0, 4, 16, 8
_ALLOW, _FAIL_WITH = 0x7FFF0000, 0x00050000

Program = list[bytes]


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    """Encode one instruction; `if_true` and `if_false` are the numbers of following instructions to skip."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


ALLOW: Program = [_instruction(_RETURN, _ALLOW)]
REFUSE: Program = [_instruction(_RETURN, _FAIL_WITH | errno.EPERM)]
NO_SUCH_CALL: Program = [_instruction(_RETURN, _FAIL_WITH | errno.ENOSYS)]
LOAD_ARCHITECTURE: Program = [_instruction(_LOAD, _ARCHITECTURE_OFFSET)]
LOAD_NUMBER: Program = [_instruction(_LOAD, _NUMBER_OFFSET)]


def load_argument(index: int) -> Program:
    """Load an argument as the value for the following tests."""
    return [_instruction(_LOAD, _FIRST_ARGUMENT_OFFSET + _ARGUMENT_BYTES * index)]


def keep_bits(mask: int) -> Program:
    """Mask the loaded value."""
    return [_instruction(_KEEP_BITS, mask)]


def if_equal(value: int, then: Program) -> Program:
    """Run `then` if the loaded value equals `value`."""
    return [_instruction(_IF_EQUAL, value, if_false=len(then)), *then]


def unless_equal(value: int, then: Program) -> Program:
    """Run `then` if the loaded value differs from `value`."""
    return [_instruction(_IF_EQUAL, value, if_true=len(then)), *then]


def if_at_least(value: int, then: Program) -> Program:
    """Run `then` if the loaded value is at least `value`."""
    return [_instruction(_IF_AT_LEAST, value, if_false=len(then)), *then]


def if_any_bit(mask: int, then: Program) -> Program:
    """Run `then` if one of the bits is set."""
    return [_instruction(_IF_BITS, mask, if_false=len(then)), *then]


def unless_any_bit(mask: int, then: Program) -> Program:
    """Run `then` if none of the bits is set."""
    return [_instruction(_IF_BITS, mask, if_true=len(then)), *then]


def allow_only(argument: int, values: Iterable[int]) -> Program:
    """Allow a call whose argument is one of these values."""
    return [*load_argument(argument), *_each(values, ALLOW), *REFUSE]


def allow_all_but(argument: int, values: Iterable[int]) -> Program:
    """Allow a call unless its argument is one of these values."""
    return [*load_argument(argument), *_each(values, REFUSE), *ALLOW]


def _each(values: Iterable[int], then: Program) -> Program:
    return [part for value in values for part in if_equal(value, then)]
