"""The smallest size that loses no more accuracy than is allowed, by halving the range of sizes."""

import math
from collections.abc import Callable, Iterable

from nern_core.report import SizeTrial


def search_size(
    drop_of: Callable[[int], float], smallest: int, largest: int, max_drop: float, trials: int
) -> tuple[SizeTrial, ...]:
    """Try sizes in bytes between these; `drop_of` tells how many points of accuracy one costs.

    A size that costs no more than `max_drop` is followed by a smaller one, another by a larger one.
    """
    low, high = math.log(smallest), math.log(largest)
    tried = []
    for _ in range(trials):
        middle = (low + high) / 2
        size = round(math.exp(middle))
        tried.append(SizeTrial(bytes=size, drop=round(drop_of(size), 2)))
        if tried[-1].drop <= max_drop:
            high = middle
        else:
            low = middle
    return tuple(tried)


def chosen_size(trials: Iterable[SizeTrial], largest: int, max_drop: float) -> int:
    """The smallest size of those tried that costs no more than `max_drop`, or the largest of all."""
    return min((trial.bytes for trial in trials if trial.drop <= max_drop), default=largest)
