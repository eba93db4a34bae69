"""Waiting on the server: the preference `wait` of RFC 7240, with the parameter `for`, and the query `wait_for`."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from app.access.caller import tenant_of_request
from app.events.places import Places
from app.events.reader import EventReader
from app.schemas import JobView

LONGEST_WAIT = 60
_SECONDS_BETWEEN_LOOKS = 0.5
_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,9})"?', re.IGNORECASE)
_FOR_END = re.compile(r'for\s*=\s*"?end"?', re.IGNORECASE)


class WaitFor(StrEnum):
    """The event that a client waits for: the next status, or the last one."""

    CHANGE = "change"
    END = "end"


@dataclass(frozen=True, slots=True)
class Wait:
    """For how many seconds at most a client wants its answer held back, and until when."""

    seconds: int
    until: WaitFor = WaitFor.CHANGE

    @property
    def applied(self) -> str:
        """The value of `Preference-Applied`."""
        return f"wait={self.seconds}" + ("; for=end" if self.until is WaitFor.END else "")


def preferred_wait(header: str | None, wait_for: WaitFor | None = None) -> Wait:
    """The wait that a `Prefer` header and the query ask for, 60 seconds at most.

    The query alone waits for 60 seconds. What is not understood in the header is ignored, as the RFC has it.
    """
    for preference in (header or "").split(","):
        name, *parameters = (part.strip() for part in preference.split(";"))
        found = _WAIT.fullmatch(name)
        if found is not None:
            preferred = WaitFor.END if any(map(_FOR_END.fullmatch, parameters)) else WaitFor.CHANGE
            return Wait(min(int(found[1]), LONGEST_WAIT), wait_for or preferred)
    return Wait(0) if wait_for is None else Wait(LONGEST_WAIT, wait_for)


async def wait_for_job(
    look: Callable[[], Awaitable[JobView]], wait: Wait, places: Places, reader: EventReader
) -> tuple[JobView, bool]:
    """Look at a job until what the client waits for has happened, the job has ended, or the time is over.

    A service that stops answers at once. Returns the job, and whether the client could wait: it cannot while all
    places of its tenant are taken.
    """
    first = job = await look()
    if not wait.seconds or places.full(tenant_of_request.get()):
        return first, False
    until = time.monotonic() + wait.seconds
    with places.taken(tenant_of_request.get()):
        while not job.ended and not reader.stopped and (wait.until is WaitFor.END or job.status == first.status):
            left = until - time.monotonic()
            if left <= 0:
                break
            await asyncio.sleep(min(left, _SECONDS_BETWEEN_LOOKS))
            job = await look()
    return job, True
