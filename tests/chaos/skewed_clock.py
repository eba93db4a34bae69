"""A process whose clock is wrong by some days: what it reads of the time of day, and how it counts it."""

import os
from datetime import UTC, datetime, timedelta

import time_machine

SKEW_VARIABLE = "CHAOS_SKEW_DAYS"


def skew_clock() -> None:
    """From now on, let this process believe in another day. Its monotonic clock goes on as it did."""
    there = datetime.now(UTC) + timedelta(days=float(os.environ[SKEW_VARIABLE]))
    time_machine.travel(there, tick=True).start()
