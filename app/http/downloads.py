"""Downloads of results to clients, with their digest as ETag and as RFC 9530's `Repr-Digest`."""

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http import HTTPMethod, HTTPStatus

import structlog
from fastapi import Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.http.ranges import content_range, requested_part
from app.kit.fair_shares import FairShares
from app.kit.problems import Problem
from app.kit.tenants import tenant_of_request
from app.storage import ArtifactDamaged, ArtifactMissing, ArtifactStore, StoredArtifact

_log = structlog.get_logger()
_BINARY = "application/octet-stream"
# By the extension of the artifact's name.
_MEDIA_TYPES = {"json": "application/json", "html": "text/html; charset=utf-8", "svg": "image/svg+xml"}
# Per process; one tenant may have half of them.
_MOST_DOWNLOADS = 128
_SHOWN = (".html", ".svg")
# The page contains names from untrusted files, so nothing in it may run or be fetched.
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"


@dataclass(frozen=True, slots=True)
class Download:
    """A result of a job: the artifact, its name, and the name of the downloaded file."""

    artifact: StoredArtifact
    name: str
    filename: str

    def answer(self, request: Request, store: ArtifactStore) -> Response:
        """Answer a request for the result or a part of it.

        Raises `Problem` (`damaged-result`, `range-not-satisfiable`) and `StoreUnavailable`.
        """
        headers = self._headers()
        if self._is_known(request.headers.get("if-none-match")):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        with self._losses_told():
            if request.method == HTTPMethod.HEAD:
                store.require(self.artifact)
                return Response(headers=headers | {"Content-Length": str(self.artifact.size)})
            if (address := self._address(store, headers)) is not None:
                store.require(self.artifact)
                return RedirectResponse(address, headers={"ETag": headers["ETag"], "Cache-Control": "no-store"})
            return self._stream(request, store, headers)

    def _stream(self, request: Request, store: ArtifactStore, headers: dict[str, str]) -> Response:
        size, ranges, if_range = self.artifact.size, request.headers.get("range"), request.headers.get("if-range")
        part, status = requested_part(ranges, if_range, headers["ETag"], size), HTTPStatus.PARTIAL_CONTENT
        if part is None:
            part, status = self.artifact.whole, HTTPStatus.OK
        else:
            headers["Content-Range"] = content_range(part, size)
        headers["Content-Length"] = str(len(part))
        return _DownloadResponse(store.read(self.artifact, part), status_code=status, headers=headers)

    def _address(self, store: ArtifactStore, headers: Mapping[str, str]) -> str | None:
        """Return a redirect address, or None. Files that browsers interpret are served from here, with their policy."""
        if headers["Content-Type"] != _BINARY:
            return None
        return store.address(self.artifact, headers["Content-Type"], headers["Content-Disposition"])

    def _headers(self) -> dict[str, str]:
        digest = base64.b64encode(bytes.fromhex(self.artifact.sha256)).decode()
        headers = {
            "ETag": f'"{self.artifact.sha256}"',
            "Repr-Digest": f"sha-256=:{digest}:",
            # A copy is good as long as the service says so: until it expires, is deleted or the key is revoked.
            "Cache-Control": "private, no-cache",
            "Accept-Ranges": "bytes",
            "Content-Type": _MEDIA_TYPES.get(self.name.rpartition(".")[2], _BINARY),
            "Content-Disposition": f'attachment; filename="{self.filename}"',
        }
        if self.name.endswith(_SHOWN):
            # A browser may show it, but run nothing in it.
            headers |= {"Content-Disposition": "inline", "Content-Security-Policy": _PAGE_POLICY}
        return headers

    def _is_known(self, if_none_match: str | None) -> bool:
        """Return whether the client already has it, by the weak comparison of RFC 9110."""
        if if_none_match is None:
            return False
        tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
        return "*" in tags or f'"{self.artifact.sha256}"' in tags

    @contextmanager
    def _losses_told(self) -> Iterator[None]:
        try:
            yield
        except (ArtifactMissing, ArtifactDamaged) as lost:
            _log.error("artifact_lost", file=self.filename, error=repr(lost))
            raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "damaged-result", _DAMAGED) from lost


class _DownloadResponse(StreamingResponse):
    """A response that counts as a download while it is sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, or refuse it (`too-many-downloads`)."""
        tenant, places = tenant_of_request.get(), _places()
        if not places.take(tenant):
            await _TOO_MANY.response()(scope, receive, send)
            return
        try:
            await super().__call__(scope, receive, send)
        finally:
            places.release(tenant)


@cache
def _places() -> FairShares:
    """Places for downloads; from a bucket, each holds some mebibytes in memory."""
    return FairShares(_MOST_DOWNLOADS)


_TOO_MANY = Problem(
    HTTPStatus.TOO_MANY_REQUESTS,
    "too-many-downloads",
    "You have too many downloads in progress; retry when another has ended.",
    headers={"Retry-After": "10"},
)
_DAMAGED = "This result is lost or damaged in the store, so it is not sent; submit the checkpoint again."
