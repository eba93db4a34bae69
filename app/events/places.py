"""Places for requests that take long because they wait for something to happen."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from app.problems import Problem

_SECONDS_TO_COME_BACK = "10"


class Places:
    """So many of one process."""

    def __init__(self, number: int) -> None:
        self._free = number

    @property
    def full(self) -> bool:
        """Whether there is none left."""
        return self._free <= 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take a place until the end of the `with`. Raises `Problem` (`too-many-listeners`)."""
        if self.full:
            raise _too_many()
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


def _too_many() -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too-many-listeners",
        "As many requests as the service allows wait for events already; come back soon, or poll the job meanwhile.",
        headers={"Retry-After": _SECONDS_TO_COME_BACK},
    )
