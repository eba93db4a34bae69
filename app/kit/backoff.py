"""Growing pauses between attempts."""

import random
from dataclasses import dataclass
from datetime import timedelta

# More would overflow; every limit is reached by then.
_MOST_STEPS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses that grow from `first` by `factor` up to `longest`; `jitter` varies each at random, 0.2 by up to 20 %."""

    first: timedelta
    longest: timedelta
    factor: float = 2.0
    jitter: float = 0.0

    def pause(self, earlier: int) -> timedelta:
        """Return the pause that comes after `earlier` pauses."""
        grown = min(self.longest, self.first * self.factor ** min(earlier, _MOST_STEPS))
        return grown * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 # not a secret
