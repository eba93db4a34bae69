"""Requests to the S3 store: retried for some seconds, then converted to this package's errors.

A permanent failure, also a refusal by the store, raises `StoreUnavailable`, because it says nothing about the object.
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
# More than fit into the time limit.
_MOST_TRIES = 100
# obstore retries all connection failures but one: a connection lost between connecting and sending. Its message
# contains this word.
_LOST_BEFORE_SENDING = "Canceled"
_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Timeout of a request, and the time during which it is retried."""

    request: timedelta
    retries: timedelta


# `ANSWERING` requests are short, because a database transaction waits for them. `CARRYING` ones transfer mebibytes.
ANSWERING = TimeLimits(timedelta(seconds=5), timedelta(seconds=5))
CARRYING = TimeLimits(timedelta(seconds=60), timedelta(seconds=30))


class Requests:
    """Requests of one kind."""

    def __init__(self, location: Location, limits: TimeLimits) -> None:
        self._client = _client(location, limits)
        self._retry_seconds = limits.retries.total_seconds()

    def send(self, request: Callable[[S3Store], Answer], *, missing: bool = False) -> Answer:
        """Send a request, with retries.

        Raises `StoreUnavailable`, and with `missing` `FileNotFoundError` for a missing object. Otherwise a missing
        object counts as a failure too, because the bucket may be missing.
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
    """Return the first line: the rest repeats it and may be a page long."""
    return str(error).partition("\n")[0][:_LONGEST_MESSAGE]


def _client(location: Location, limits: TimeLimits) -> S3Store:
    """Create a client. The environment can neither override the location nor weaken the client's security."""
    return S3Store(
        location.bucket,
        prefix=location.prefix or None,
        config={
            "aws_endpoint_url_s3": location.endpoint,
            "region": location.region,
            "virtual_hosted_style_request": False,
            "skip_signature": False,
            # The signature covers the SHA-256 of every body, so the store refuses a body that was damaged in transit.
            "unsigned_payload": False,
            # Not every store supports it.
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
