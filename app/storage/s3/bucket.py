"""The objects of a bucket below one prefix, and what it means that a request for one fails.

What may pass is tried again for some seconds. Whatever fails for good, also because the store refuses it, is told as
`StoreUnavailable`: it says nothing of the object.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store as Client

from app.storage.artifacts import StoreUnavailable
from app.storage.s3.location import Credentials, Location

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import S3Credential

# A database transaction waits for the first kind of requests; the second carries some mebibytes. For each: how long a
# request may take, and until when it is sent again.
_ANSWERING = timedelta(seconds=5), timedelta(seconds=5)
_CARRYING = timedelta(seconds=60), timedelta(seconds=30)
_TO_CONNECT = timedelta(seconds=3)
_FIRST_PAUSE, _LARGEST_PAUSE = timedelta(milliseconds=100), timedelta(seconds=1)
_PARTS_AT_ONCE = 3
_OBJECTS_ON_A_PAGE = 1000
_LONGEST_MESSAGE = 300
# More than fit into the time.
_MOST_TRIES = 100


@dataclass(frozen=True, slots=True)
class ObjectFound:
    """An object as the store tells of it. The tag changes with the bytes; the time has whole seconds."""

    key: str
    size: int
    tag: str
    modified: datetime


class Bucket:
    """The bucket. Every method raises `StoreUnavailable`."""

    def __init__(self, location: Location) -> None:
        self._answering = _client(location, *_ANSWERING)
        self._carrying = _client(location, *_CARRYING)

    def put(self, key: str, data: bytes) -> None:
        """Write a small object."""
        with _told():
            obstore.put(self._carrying if data else self._answering, key, data, use_multipart=False)

    def upload(self, key: str, parts: Iterator[bytes], part_bytes: int) -> None:
        """Write a large object in parts; it appears when all of them are there.

        What `parts` raises ends the upload, is raised here, and leaves nothing.
        """
        with _told():
            obstore.put(self._carrying, key, parts, chunk_size=part_bytes, max_concurrency=_PARTS_AT_ONCE)

    def find(self, key: str) -> ObjectFound | None:
        """Look at an object."""
        try:
            with _told(missing=False):
                return _found(obstore.head(self._answering, key))
        except FileNotFoundError:
            return None

    def read(self, found: ObjectFound, start: int, stop: int) -> bytes:
        """Some bytes of the very object that was found. If there is another one by now, that is to be found first."""
        options: GetOptions = {"range": (start, stop), "if_match": found.tag}
        with _told():
            return bytes(obstore.get(self._carrying, found.key, options=options).bytes())

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with _told():
            obstore.delete(self._answering, key)

    def list(self, folder: str) -> Iterator[list[ObjectFound]]:
        """The objects whose keys begin with this and a slash, a page at a time."""
        pages = obstore.list(self._answering, folder, chunk_size=_OBJECTS_ON_A_PAGE)
        while True:
            with _told():
                page = next(pages, None)
            if page is None:
                return
            yield [_found(meta) for meta in page]


@contextmanager
def _told(*, missing: bool = True) -> Iterator[None]:
    """Tell what fails in our words. Where no object may be missing, that is a failure too: there may be no bucket."""
    try:
        yield
    except BaseError as error:
        raise StoreUnavailable(_gist(error)) from error
    except FileNotFoundError as error:
        if not missing:
            raise
        raise StoreUnavailable(_gist(error)) from error


def _gist(error: Exception) -> str:
    """The first line: the rest is the same again, and may be a page."""
    return str(error).partition("\n")[0][:_LONGEST_MESSAGE]


def _found(meta: "ObjectMeta") -> ObjectFound:
    return ObjectFound(meta["path"], meta["size"], meta["e_tag"] or "", meta["last_modified"])


def _client(location: Location, timeout: timedelta, retry_timeout: timedelta) -> Client:
    """A client that takes from the environment nothing that the location says or that would weaken it."""
    return Client(
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
            "timeout": timeout,
            "connect_timeout": _TO_CONNECT,
        },
        retry_config={
            "max_retries": _MOST_TRIES,
            "retry_timeout": retry_timeout,
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
