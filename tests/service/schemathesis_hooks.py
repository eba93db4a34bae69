"""Hooks that adapt Schemathesis to this API."""

from itertools import cycle, islice
from typing import Any

import schemathesis

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
# Invalid job ids, used beside the valid one in the configuration: NUL, a terminal escape, a lone surrogate's
# replacement, a right-to-left mark, a line break, and a long text.
_HOSTILE = ("job_\x00", "\x1b[2J", "\ufffd", "\u202ejob", "job_1\n", "x" * 3000)
_ids = cycle((None, None, *_HOSTILE))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Use a hostile job id in most of the calls that have one."""
    if "job_id" in (case.path_parameters or {}) and (hostile := next(islice(_ids, 1))) is not None:
        case.path_parameters["job_id"] = hostile
