"""Reservations for arriving files, which count in the tenant's quota from before the first byte.

A reservation is a row, so all processes count it. It grows with a file of unknown size. The transaction that adds the
file's own row ends it. If its process dies, it expires when the collector removes the process's leftovers.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog
import uuid_utils
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.accounting.accounts import Accounts, lock_tenant
from app.accounting.discards import DiscardRepository, Discards
from app.accounting.models import Reservation
from app.accounting.quotas import Quotas
from app.db.transactions import Sessions, current_time, insert_into, transact
from app.http.request_threads import in_share
from app.settings import Settings
from app.storage import ArtifactStore, StoredArtifact

_log = structlog.get_logger()
_STEP_BYTES = 16 * 2**20
_SECONDS_BETWEEN_EXTENSIONS = 600.0


class Reservations:
    """Creates reservations. Without quotas, nothing is counted."""

    def __init__(self, settings: Settings, sessions: Sessions, store: ArtifactStore, accounts: Accounts) -> None:
        self._sessions = sessions
        self._accounts = accounts
        self._discards = Discards(sessions, store, accounts)
        self._quotas = Quotas.of(settings)
        # Leftovers of a dead process are removed after the grace time; until then they count.
        self._keep = settings.collect_grace

    def room(self, tenant: str, allowance: int = 0) -> "ReservedRoom":
        """Return an empty reservation for a tenant that may exceed its quota by `allowance` bytes."""
        return ReservedRoom(tenant, self._sessions, self._accounts, self._quotas, self._keep, allowance, self._discards)

    @asynccontextmanager
    async def open(
        self, tenant: str, declared: int, *, overhead: int = 0, allowance: int = 0
    ) -> AsyncIterator["ReservedRoom"]:
        """Reserve space for a file until the end of the `async with`.

        `declared` is the length of the request, 0 if unknown; up to `overhead` bytes of it are not part of the file.
        The tenant may exceed its quota by `allowance` bytes. Raises `Problem` (`storage-full`).
        """
        room = self.room(tenant, allowance)
        if declared:
            await in_share(room.reserve, max(0, declared - overhead), declared)
        try:
            yield room
        finally:
            await run_in_threadpool(room.close)


class ReservedRoom:
    """Reservation for one file, created by `Reservations.open`."""

    def __init__(
        self,
        tenant: str,
        sessions: Sessions,
        accounts: Accounts,
        quotas: Quotas,
        keep: timedelta,
        allowance: int,
        discards: Discards,
    ) -> None:
        self._tenant = tenant
        self._sessions = sessions
        self._accounts = accounts
        self._quotas = quotas
        self._keep = keep
        self._allowance = allowance
        self._discards = discards
        self._id = f"room_{uuid_utils.uuid7().hex}"
        self._bytes = 0
        self._is_reserved = False
        self._extended = time.monotonic()
        self._file: StoredArtifact | None = None

    def cover(self, size: int) -> None:
        """Extend the reservation if `size` exceeds it. Raises `Problem` (`storage-full`)."""
        if size > self._bytes:
            self.reserve(size, max(size, self._bytes + _STEP_BYTES))
        elif self._is_reserved and time.monotonic() - self._extended > _SECONDS_BETWEEN_EXTENSIONS:
            self.reserve(self._bytes, self._bytes)

    def reserve(self, least: int, wanted: int) -> None:
        """Reserve `wanted` bytes in total, or as many as the quota allows. Raises `Problem` below `least`."""
        if not self._quotas.stored_bytes:
            self._bytes = wanted
            return

        def work(session: Session) -> int:
            lock_tenant(session, self._tenant)
            self._release(session)
            usage = self._accounts.usage(session, self._tenant)
            self._quotas.refuse_bytes(usage, least - self._allowance)
            left = self._quotas.stored_bytes + self._allowance - usage.stored_bytes
            size = max(least, min(wanted, left))
            expires_at = current_time(session) + self._keep
            session.execute(
                insert_into(session, Reservation).values(
                    id=self._id, tenant=self._tenant, bytes=size, expires_at=expires_at
                )
            )
            return size

        self._bytes = transact(self._sessions, work)
        self._is_reserved, self._extended = True, time.monotonic()

    def stored(self, file: StoredArtifact) -> StoredArtifact:
        """Record that the file is in the store, and return it. It is discarded unless a row comes to name it."""
        self._file = file
        return file

    def settle(self, session: Session) -> None:
        """End the reservation, in the transaction that adds the file's own row."""
        self._release(session)

    def close(self) -> None:
        """End the reservation, and discard the file unless a row names it."""
        if not self._is_reserved and self._file is None:
            return
        try:
            transact(self._sessions, self._end)
        except SQLAlchemyError as error:
            # The row expires, and the collector removes the file.
            _log.warning("reservation_not_ended", error=repr(error))
        else:
            if self._file is not None:
                self._discards.remove([self._file.sha256])

    def _end(self, session: Session) -> None:
        self._release(session)
        if self._file is not None:
            DiscardRepository(session, self._accounts).add(self._tenant, {self._file.sha256: self._file.size})

    def _release(self, session: Session) -> None:
        session.execute(delete(Reservation).where(Reservation.id == self._id))


def expire_reservations(session: Session) -> None:
    """Delete expired reservations, whose process has died."""
    session.execute(delete(Reservation).where(Reservation.expires_at <= current_time(session)))
