"""Waiting on the server: the preference `wait` of RFC 7240, with the parameter `for`, and the query `wait_for`."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from app.jobs.events.listener_limit import ListenerLimit
from app.jobs.events.reader import EventReader
from app.jobs.schemas import JobView
from app.kit.tenants import tenant_of_request

LONGEST_WAIT = 60
_SECONDS_BETWEEN_LOOKS = 0.5
_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,9})"?', re.IGNORECASE)
_FOR_END = re.compile(r'for\s*=\s*"?end"?', re.IGNORECASE)


class WaitFor(StrEnum):
    """The change that a client waits for: the next status, or the end of the job."""

    CHANGE = "change"
    END = "end"


@dataclass(frozen=True, slots=True)
class Wait:
    """A client's wait: the maximum in seconds, and the change that ends it earlier."""

    seconds: int
    until: WaitFor = WaitFor.CHANGE

    @property
    def applied(self) -> str:
        """The value of `Preference-Applied`."""
        return f"wait={self.seconds}" + ("; for=end" if self.until is WaitFor.END else "")


def preferred_wait(header: str | None, wait_for: WaitFor | None = None) -> Wait:
    """Return the wait that the header `Prefer` and the query request, at most 60 seconds.

    The query alone waits for 60 seconds. Unknown preferences are ignored, as the RFC requires.
    """
    for preference in (header or "").split(","):
        name, *parameters = (part.strip() for part in preference.split(";"))
        found = _WAIT.fullmatch(name)
        if found is not None:
            preferred = WaitFor.END if any(map(_FOR_END.fullmatch, parameters)) else WaitFor.CHANGE
            return Wait(min(int(found[1]), LONGEST_WAIT), wait_for or preferred)
    return Wait(0) if wait_for is None else Wait(LONGEST_WAIT, wait_for)


async def wait_for_job(
    look: Callable[[], Awaitable[JobView]], wait: Wait, listeners: ListenerLimit, reader: EventReader
) -> tuple[JobView, bool]:
    """Poll a job until the change that the client waits for, the job's end, or the timeout.

    A stopping service answers at once. Returns the job, and whether the request could wait: it cannot while all places
    of its tenant are taken.
    """
    first = job = await look()
    if not wait.seconds or listeners.full(tenant_of_request.get()):
        return first, False
    until = time.monotonic() + wait.seconds
    with listeners.taken(tenant_of_request.get()):
        while not job.ended and not reader.stopped and (wait.until is WaitFor.END or job.status == first.status):
            left = until - time.monotonic()
            if left <= 0:
                break
            await asyncio.sleep(min(left, _SECONDS_BETWEEN_LOOKS))
            job = await look()
    return job, True
