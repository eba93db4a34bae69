"""The preference `wait` of RFC 7240: for how long a client would have its answer held back."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

from app.events.places import Places
from app.events.reader import EventReader
from app.schemas import JobView

LONGEST_WAIT = 60
_SECONDS_BETWEEN_LOOKS = 0.5
_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?', re.IGNORECASE)


def preferred_wait(header: str | None) -> int:
    """The seconds in a `Prefer` header, 60 at most. What is not understood is ignored, as the RFC has it."""
    for preference in (header or "").split(","):
        found = _WAIT.fullmatch(preference.strip())
        if found is not None:
            return min(int(found[1]), LONGEST_WAIT)
    return 0


async def wait_for_change(
    look: Callable[[], Awaitable[JobView]], seconds: int, places: Places, reader: EventReader
) -> tuple[JobView, bool]:
    """Look at a job until its status changes, it has ended, the time is over or the service stops.

    Returns the job, and whether the preference was heeded: it is not where all places are taken.
    """
    first = job = await look()
    if not seconds or places.full:
        return first, False
    until = time.monotonic() + seconds
    with places.taken():
        while not job.ended and job.status == first.status and not reader.stopped:
            left = until - time.monotonic()
            if left <= 0:
                break
            await asyncio.sleep(min(left, _SECONDS_BETWEEN_LOOKS))
            job = await look()
    return job, True
