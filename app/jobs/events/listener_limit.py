"""The limit of requests that wait for events."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from app.kit.fair_shares import FairShares
from app.kit.problems import Problem

_SECONDS_TO_COME_BACK = "10"


class ListenerLimit:
    """Listeners of one process. With several tenants, each has a share of their places."""

    def __init__(self, number: int, *, several_tenants: bool = True) -> None:
        self._shares = FairShares(number, reserving=several_tenants)

    def full(self, tenant: str) -> bool:
        """Return whether no place is left for this tenant."""
        return not self._shares.may_take(tenant)

    @contextmanager
    def taken(self, tenant: str) -> Iterator[None]:
        """Take a place until the end of the `with`. Raises `Problem` (`too-many-listeners`)."""
        if not self._shares.take(tenant):
            raise _too_many()
        try:
            yield
        finally:
            self._shares.release(tenant)


def _too_many() -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too-many-listeners",
        "Too many of your requests are waiting for events; try again soon, or poll the job meanwhile.",
        headers={"Retry-After": _SECONDS_TO_COME_BACK},
    )
