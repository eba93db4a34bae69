"""Errors of the operating system inside the errors of libraries. Torch-free."""

import os
import re

# safetensors, written in Rust, says "I/O error: No space left on device (os error 28)".
_RUST = re.compile(r"\(os error (\d+)\)")


def system_error(error: BaseException) -> OSError | None:
    """The error of the operating system that an exception is, was raised from, or quotes; None if there is none."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno is not None:
            return found
        if quoted := _RUST.search(str(found)):
            number = int(quoted[1])
            return OSError(number, os.strerror(number))
        found = found.__cause__ or found.__context__
    return None
