"""Measurement of durations."""

import math
import time
from collections.abc import Callable


def best_seconds(work: Callable[[], object], repetitions: int, most_seconds: float = math.inf) -> float:
    """Return the seconds of the fastest repetition; stop repeating after `most_seconds` in total."""
    seconds: list[float] = []
    while len(seconds) < repetitions and sum(seconds) <= most_seconds:
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
