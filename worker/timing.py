"""Clock and intervals of a supervisor."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """A monotonic clock, and the intervals and timeouts of a supervisor in seconds. Tests pass shorter ones."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    between_heartbeats: float = 1.0
    # Checks of a running child: whether it has ended, its job is held, and memory and time are within the limits.
    between_checks: float = 0.2
    # Checks of threads, files and activity, which read more of /proc and the disk.
    between_full_checks: float = 1.0
    # Time for a child to save a snapshot after it was asked to stop.
    to_stop: float = 15.0
    # Time for which a claim is retried while the database does not answer.
    to_claim: float = 60.0
    between_database_retries: float = 1.0
    # An outage of the artifact store must not cost a finished training.
    store_timeout: float = 3600.0
    full_disk_timeout: float = 600.0
    between_store_retries: float = 2.0
    # Pauses of a worker whose machine is faulty: each is twice as long as the one before.
    first_pause: float = 1.0
    longest_pause: float = 60.0
