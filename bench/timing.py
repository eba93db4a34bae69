"""How long something takes."""

import math
import time
from collections.abc import Callable


def best_seconds(work: Callable[[], object], repetitions: int, most_seconds: float = math.inf) -> float:
    """Seconds of the fastest of several repetitions; no further ones once they took `most_seconds` together."""
    seconds: list[float] = []
    while len(seconds) < repetitions and sum(seconds) <= most_seconds:
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
