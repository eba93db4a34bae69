"""Find errors of the operating system inside the errors of libraries. Torch-free."""

import errno
import os
import re
from collections.abc import Iterator
from typing import Final

# safetensors, written in Rust, reports "I/O error: No space left on device (os error 28)".
_RUST: Final = re.compile(r"\(os error (\d+)\)")
# Messages that libraries quote without the error number.
_QUOTED: Final = {
    os.strerror(number): number for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
}
_LONGEST_CHAIN: Final = 10


def system_errors(error: BaseException) -> Iterator[OSError]:
    """Yield the errors of the operating system that an exception is, was raised from or quotes, outermost first."""
    link: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if link is None:
            return
        if isinstance(link, OSError) and link.errno is not None:
            yield link
        elif (number := _quoted_number(str(link))) is not None:
            yield OSError(number, os.strerror(number))
        link = link.__cause__ or link.__context__


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if memory ran out. torch reports a failed allocation on the CPU as a plain RuntimeError."""
    return (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate" in str(error)
    )


def _quoted_number(text: str) -> int | None:
    found = _RUST.search(text)
    if found is not None:
        return int(found[1])
    return next((number for words, number in _QUOTED.items() if words in text), None)
