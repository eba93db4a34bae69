"""Objects of a bucket below one prefix."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import obstore
from obstore.store import S3Store

from app.storage.s3 import requests
from app.storage.s3.location import Location

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta

_PARTS_AT_ONCE = 3
_OBJECTS_ON_A_PAGE = 1000


@dataclass(frozen=True, slots=True)
class ObjectFound:
    """Metadata of an object. The tag changes with the bytes; the time has whole seconds."""

    key: str
    size: int
    tag: str
    modified: datetime


class Bucket:
    """The bucket. Every method raises `StoreUnavailable`."""

    def __init__(self, location: Location) -> None:
        self._answering = requests.Requests(location, requests.ANSWERING)
        self._carrying = requests.Requests(location, requests.CARRYING)

    def put(self, key: str, data: bytes) -> None:
        """Write a small object."""
        kind = self._carrying if data else self._answering
        kind.send(lambda client: obstore.put(client, key, data, use_multipart=False))

    def upload(self, key: str, parts: Callable[[], Iterator[bytes]], part_bytes: int) -> None:
        """Write a large object in parts; it appears when all parts are complete.

        A retry calls `parts` again from the start. An exception of the parts ends the upload, is raised here, and
        leaves no object.
        """
        self._carrying.send(
            lambda client: obstore.put(client, key, parts(), chunk_size=part_bytes, max_concurrency=_PARTS_AT_ONCE)
        )

    def find(self, key: str) -> ObjectFound | None:
        """Return the metadata of an object, or None."""
        try:
            return _found(self._answering.send(lambda client: obstore.head(client, key), missing=True))
        except FileNotFoundError:
            return None

    def read(self, found: ObjectFound, start: int, stop: int) -> bytes:
        """Read bytes of exactly the object that was found; fail if it has been replaced."""
        options: GetOptions = {"range": (start, stop), "if_match": found.tag}
        return self._carrying.send(lambda client: bytes(obstore.get(client, found.key, options=options).bytes()))

    def delete(self, key: str) -> None:
        """Remove an object, if it exists."""
        self._answering.send(lambda client: obstore.delete(client, key))

    def list(self, folder: str) -> Iterator[list[ObjectFound]]:
        """Iterate over pages of the objects whose keys begin with this folder and a slash."""
        last: str | None = None
        while True:
            page = self._answering.send(partial(_page, folder, last))
            if page:
                yield page
                last = page[-1].key
            if len(page) < _OBJECTS_ON_A_PAGE:
                return


def _page(folder: str, last: str | None, client: S3Store) -> list[ObjectFound]:
    """Return the objects of a folder after `last`."""
    pages = obstore.list(client, folder, offset=last, chunk_size=_OBJECTS_ON_A_PAGE)
    return [_found(meta) for meta in next(pages, [])]


def _found(meta: "ObjectMeta") -> ObjectFound:
    return ObjectFound(meta["path"], meta["size"], meta["e_tag"] or "", meta["last_modified"])
