"""Requests to the S3 store: sent again for some seconds where that may help, and told in our words where it does not.

What fails for good, also because the store refuses it, is told as `StoreUnavailable`: it says nothing of the object.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from obstore.exceptions import BaseError
from obstore.store import S3Store

from app.storage.artifacts import StoreUnavailable
from app.storage.s3.location import Credentials, Location

if TYPE_CHECKING:
    from obstore.store import S3Credential

Answer = TypeVar("Answer")

_TO_CONNECT = timedelta(seconds=3)
_FIRST_PAUSE, _LARGEST_PAUSE = timedelta(milliseconds=100), timedelta(seconds=1)
# More than fit into the time.
_MOST_TRIES = 100
# obstore tries again whatever becomes of a connection, but takes for final, and tells of in this word, that one was
# lost between connecting and sending.
_LOST_BEFORE_SENDING = "Canceled"
_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long a request may take, and until when it is sent again."""

    request: timedelta
    retries: timedelta


# A database transaction waits for the first kind of requests; the second carries some mebibytes.
ANSWERING = TimeLimits(timedelta(seconds=5), timedelta(seconds=5))
CARRYING = TimeLimits(timedelta(seconds=60), timedelta(seconds=30))


class Requests:
    """Requests of one kind."""

    def __init__(self, location: Location, limits: TimeLimits) -> None:
        self._client = _client(location, limits)
        self._retry_seconds = limits.retries.total_seconds()

    def send(self, request: Callable[[S3Store], Answer], *, missing: bool = False) -> Answer:
        """Do what the request does, again if it has to be.

        Raises `StoreUnavailable`, and `FileNotFoundError` if the object may be missing. Where it may not, that is a
        failure too: there may be no bucket.
        """
        until = time.monotonic() + self._retry_seconds
        while True:
            try:
                return request(self._client)
            except BaseError as error:
                if _LOST_BEFORE_SENDING not in str(error) or time.monotonic() > until:
                    raise StoreUnavailable(_gist(error)) from error
            except FileNotFoundError as error:
                if missing:
                    raise
                raise StoreUnavailable(_gist(error)) from error
            time.sleep(_FIRST_PAUSE.total_seconds())


def _gist(error: Exception) -> str:
    """The first line: the rest is the same again, and may be a page."""
    return str(error).partition("\n")[0][:_LONGEST_MESSAGE]


def _client(location: Location, limits: TimeLimits) -> S3Store:
    """A client that takes from the environment nothing that the location says or that would weaken it."""
    return S3Store(
        location.bucket,
        prefix=location.prefix or None,
        config={
            "aws_endpoint_url_s3": location.endpoint,
            "region": location.region,
            "virtual_hosted_style_request": False,
            "skip_signature": False,
            # The signature covers the SHA-256 of every body: the store itself refuses one that has changed on the way.
            "unsigned_payload": False,
            # Not every store has the other way.
            "disable_bulk_delete": True,
        },
        client_options={
            "allow_http": location.endpoint.startswith("http://"),
            "timeout": limits.request,
            "connect_timeout": _TO_CONNECT,
        },
        retry_config={
            "max_retries": _MOST_TRIES,
            "retry_timeout": limits.retries,
            "backoff": {"init_backoff": _FIRST_PAUSE, "max_backoff": _LARGEST_PAUSE, "base": 2},
        },
        credential_provider=None if location.credentials is None else _provider(location.credentials),
    )


def _provider(credentials: Credentials) -> "Callable[[], S3Credential]":
    return lambda: {
        "access_key_id": credentials.key_id,
        "secret_access_key": credentials.secret,
        "token": credentials.token,
        "expires_at": None,
    }
