"""Abandoned multipart uploads: they are invisible, but their parts are stored and charged.

obstore ends its own uploads unless the process dies. The leftovers are listed and aborted here, by requests with signed
URLs. A role has no keys to sign with; then a lifecycle rule of the bucket has to do it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from xml.etree import ElementTree as ET

import httpx2

from app.storage.artifacts import StoreUnavailable
from app.storage.s3.location import Credentials, Location
from app.storage.s3.signing import signed_address

_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
_LIFETIME = timedelta(minutes=5)
_SECONDS_TO_ANSWER = 10.0


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """A multipart upload that was not completed."""

    key: str
    upload_id: str
    begun: datetime


@dataclass(frozen=True, slots=True)
class UnfinishedPage:
    """A page of unfinished uploads, and the query for the next page, if there is one."""

    uploads: list[UnfinishedUpload]
    rest: dict[str, str] | None

    @classmethod
    def parse(cls, text: bytes) -> "UnfinishedPage":
        """Parse the answer of `ListMultipartUploads`."""
        root = ET.fromstring(text)  # noqa: S314 # from the store, which is trusted with all files
        uploads = [
            UnfinishedUpload(
                _text(upload, "Key"), _text(upload, "UploadId"), datetime.fromisoformat(_text(upload, "Initiated"))
            )
            for upload in root.iter(f"{_NAMESPACE}Upload")
        ]
        if _text(root, "IsTruncated") != "true":
            return cls(uploads, None)
        markers = {"key-marker": _text(root, "NextKeyMarker"), "upload-id-marker": _text(root, "NextUploadIdMarker")}
        return cls(uploads, markers)


class UnfinishedUploads:
    """Unfinished uploads below the prefix."""

    def __init__(self, location: Location, credentials: Credentials) -> None:
        self._location = location
        self._credentials = credentials

    def end_older(self, moment: float) -> int:
        """Abort the uploads that were begun before `moment`; return their number. Raises `StoreUnavailable`."""
        old = [upload for upload in self._all() if upload.begun.timestamp() < moment]
        for upload in old:
            self._ask("DELETE", f"/{upload.key}", {"uploadId": upload.upload_id})
        return len(old)

    def _all(self) -> Iterator[UnfinishedUpload]:
        rest: dict[str, str] | None = {}
        while rest is not None:
            query = {"uploads": "", "prefix": self._location.key(""), **rest}
            page = UnfinishedPage.parse(self._ask("GET", "", query))
            yield from page.uploads
            rest = page.rest

    def _ask(self, method: str, path: str, query: dict[str, str]) -> bytes:
        address = f"{self._location.endpoint}/{self._location.bucket}{path}"
        signed = signed_address(method, address, query, self._credentials, self._location.region, _LIFETIME)
        try:
            answer = httpx2.request(method, signed, timeout=_SECONDS_TO_ANSWER)
        except httpx2.TransportError as error:
            raise StoreUnavailable(f"{method} of unfinished uploads: {error}") from error
        # Another collector may have been faster.
        if answer.is_success or answer.status_code == httpx2.codes.NOT_FOUND:
            return answer.content
        raise StoreUnavailable(f"{method} of unfinished uploads is answered with {answer.status_code}")


def _text(element: ET.Element, name: str) -> str:
    return element.findtext(f"{_NAMESPACE}{name}") or ""
