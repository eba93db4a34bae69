"""Shift a process's clock by some days."""

import os
from datetime import UTC, datetime, timedelta

import time_machine

SKEW_VARIABLE = "CHAOS_SKEW_DAYS"


def skew_clock() -> None:
    """Shift the time of day for this process from now on. Its monotonic clock is unchanged."""
    there = datetime.now(UTC) + timedelta(days=float(os.environ[SKEW_VARIABLE]))
    time_machine.travel(there, tick=True).start()
