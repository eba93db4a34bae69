"""Fetches a file from an address that a job names, and streams it into the artifact store.

The address is a URL, or an MLflow name, which `model_registry` resolves.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from http import HTTPStatus
from urllib.parse import urljoin

from app.accounting.reservations import ReservedRoom
from app.http.body import parse_length
from app.http.content_digest import digest_mismatch_at_address
from app.kit.fair_shares import FairThreads
from app.kit.problems import Problem
from app.kit.tenants import tenant_of_request
from app.outbound.answer import Answer, Pace
from app.outbound.client import OutboundClient
from app.outbound.errors import AddressRefused, OutboundError
from app.outbound.interruption import Interruption
from app.settings import Settings
from app.storage import ArtifactStore, StoredArtifact
from app.uploads.model_registry import ModelRegistry, Unavailable, no_registry
from app.uploads.receiving import FileKind
from nern_mlflow.references import is_reference

_AT_ONCE = 16
# Per tenant.
_LONGEST_QUEUE = 32
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# More than one read of the client, so that files that are too large are reported here.
_MARGIN = 2**20


class _Elsewhere(Exception):
    """The address answers without a file."""


class FileFetcher:
    """Fetches files with the guarded client, several at once in separate threads."""

    def __init__(self, settings: Settings, store: ArtifactStore, client: OutboundClient) -> None:
        self._most = int(settings.max_upload_bytes)
        self._reserve = settings.disk_reserve
        self._seconds = settings.fetch_timeout.total_seconds()
        self._pace = Pace(settings.body_idle_timeout.total_seconds(), settings.body_bytes_per_second)
        self._store = store
        self._client = client
        self._registry = ModelRegistry.of(settings)

    async def fetch(
        self, url: str, sha256: str | None, kind: FileKind, room: ReservedRoom
    ) -> tuple[StoredArtifact, int]:
        """Fetch and check a file, which counts in the reservation `room`.

        Returns the file and the space in bytes that the results may take.

        Raises `Problem` (`refused-address`, `checkpoint-unreachable`, `checkpoint-too-large`, `digest-mismatch`, those
        of the file's kind and of `ModelRegistry.open`), `DiskFull` and `StoreUnavailable`; nothing of a refused file
        remains.
        """
        interruption = Interruption()
        try:
            return await _threads().run(tenant_of_request.get(), self._fetch, url, sha256, kind, room, interruption)
        except asyncio.CancelledError:
            interruption.happen()
            raise

    def _fetch(
        self,
        url: str,
        sha256: str | None,
        kind: FileKind,
        room: ReservedRoom,
        interruption: Interruption,
    ) -> tuple[StoredArtifact, int]:
        try:
            with self._open(url, interruption) as answer:
                length = parse_length(answer.headers.get("Content-Length", ""))
                if length > self._most:
                    raise kind.too_large(self._most)
                room.cover(length)
                with self._store.writer(length, self._reserve) as writer:
                    for chunk in answer.chunks():
                        interruption.check()
                        if writer.size + len(chunk) > self._most:
                            raise kind.too_large(self._most)
                        room.cover(writer.size + len(chunk))
                        writer.write(chunk)
                    if sha256 not in {None, writer.sha256}:
                        raise digest_mismatch_at_address(str(sha256), writer.sha256, f"{kind.name}.sha256")
                    with writer.flush().open("rb") as file:
                        result_bytes = kind.check(file)
                    interruption.check()
                    return room.stored(writer.commit()), result_bytes
        except AddressRefused as error:
            raise Problem.at(f"{kind.name}.url", "refused-address", str(error)) from error
        except Unavailable as error:
            raise Problem.at(f"{kind.name}.url", error.slug or f"{kind.name}-unreachable", str(error)) from error
        except (OutboundError, _Elsewhere) as error:
            raise Problem.at(f"{kind.name}.url", f"{kind.name}-unreachable", str(error)) from error

    def _open(self, url: str, interruption: Interruption) -> AbstractContextManager[Answer]:
        if not is_reference(url):
            return self._answer(url, interruption)
        if self._registry is None:
            raise no_registry()
        return self._registry.open(
            url,
            seconds=self._seconds,
            max_bytes=self._most + _MARGIN,
            pace=self._pace,
            interruption=interruption,
        )

    @contextmanager
    def _answer(self, url: str, interruption: Interruption) -> Iterator[Answer]:
        """Follow redirects to the answer; the client checks each of them like the address itself."""
        end, tenant = time.monotonic() + self._seconds, tenant_of_request.get()
        for _ in range(_MOST_REDIRECTS + 1):
            seconds = max(0.1, end - time.monotonic())
            with self._client.send(
                "GET",
                url,
                seconds=seconds,
                max_bytes=self._most + _MARGIN,
                tenant=tenant,
                pace=self._pace,
                interruption=interruption,
            ) as answer:
                location = answer.headers.get("Location")
                if answer.status == HTTPStatus.OK:
                    yield answer
                    return
                if answer.status not in _REDIRECTS or location is None:
                    raise _Elsewhere(
                        f"The address answers with the status {answer.status}; check that the file is public."
                    )
                url = _target_of(url, location)
        raise _Elsewhere(f"The address redirects more than {_MOST_REDIRECTS} times; name the file itself.")


def _target_of(url: str, location: str) -> str:
    """Return the address that a redirect leads to. Raises `AddressRefused`."""
    with suppress(UnicodeError):
        # `http.client` reads headers as Latin-1, and servers send UTF-8.
        location = location.encode("latin-1").decode()
    try:
        return urljoin(url, location)
    except ValueError:
        raise AddressRefused("The address redirects to something that is not an address.") from None


@cache
def _threads() -> FairThreads:
    """Separate threads, because a slow server must not delay uploads or the fetches of other tenants."""
    return FairThreads("fetch", _AT_ONCE, longest_queue=_LONGEST_QUEUE)
