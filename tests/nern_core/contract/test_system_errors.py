import errno

import pytest

from nern_core.contract.system_errors import is_out_of_memory, system_errors


def raised_from(cause: Exception) -> Exception:
    """Return a library error without details, raised from `cause`."""
    error = RuntimeError("unexpected pos 576 vs 534")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "numbers"),
    [
        (OSError(errno.EACCES, "Permission denied"), [errno.EACCES]),
        (RuntimeError("I/O error: No space left on device (os error 28)"), [errno.ENOSPC]),
        (RuntimeError("the file could not be written: Read-only file system"), [errno.EROFS]),
        (raised_from(OSError(errno.EFBIG, "File too large")), [errno.EFBIG]),
        (RuntimeError("something else"), []),
    ],
)
def test_errors_of_the_system_are_found_in_those_of_libraries(error: Exception, numbers: list[int]) -> None:
    assert [found.errno for found in system_errors(error)] == numbers


@pytest.mark.parametrize(
    ("error", "out"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_a_lack_of_memory_is_known_in_all_its_forms(error: Exception, out: bool) -> None:
    assert is_out_of_memory(error) is out
