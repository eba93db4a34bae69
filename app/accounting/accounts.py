"""Accounts of tenants: the sums of what each domain counts, and the files that their rows name."""

from collections.abc import Callable, Collection
from typing import Protocol

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.accounting.models import DiscardedFile, Reservation
from app.accounting.quotas import Usage
from app.db.transactions import current_time


class Holder(Protocol):
    """A repository of a domain whose rows name files in the store."""

    def usage(self, tenant: str) -> Usage:
        """Return what the rows of a tenant count."""

    def named(self, digests: Collection[str]) -> set[str]:
        """Return those of the files that a row names, and so needs."""

    def counted(self, digests: Collection[str]) -> set[str]:
        """Return those of the files whose bytes a row counts."""


class Accounts:
    """Asks every domain. Callers own the transaction."""

    def __init__(self, *holders: Callable[[Session], Holder]) -> None:
        self._holders = holders

    def usage(self, session: Session, tenant: str) -> Usage:
        """Return the tenant's current usage."""
        usages = [holder(session).usage(tenant) for holder in self._holders]
        discarded = _sum(session, DiscardedFile.bytes, DiscardedFile.tenant == tenant)
        reserved = _sum(
            session,
            Reservation.bytes,
            Reservation.tenant == tenant,
            Reservation.expires_at > current_time(session),
        )
        return Usage(
            sum(usage.active_jobs for usage in usages),
            sum(usage.stored_bytes for usage in usages) + reserved + discarded,
            discarded,
        )

    def named(self, session: Session, digests: Collection[str]) -> set[str]:
        """Return those of the files that a row names, and so needs."""
        return {digest for holder in self._holders for digest in holder(session).named(digests)}

    def counted(self, session: Session, digests: Collection[str]) -> set[str]:
        """Return those of the files that count as an upload, a data set, or a checkpoint or result of a job."""
        return {digest for holder in self._holders for digest in holder(session).counted(digests)}


def lock_tenant(session: Session, tenant: str) -> None:
    """Keep others from counting or adding what is this tenant's until the transaction ends."""
    # SQLite has only one writer, because of BEGIN IMMEDIATE.
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(tenant, 0))))


def _sum(session: Session, column: ColumnElement[int] | InstrumentedAttribute[int], *where: ColumnElement[bool]) -> int:
    return int(session.scalar(select(func.coalesce(func.sum(column), 0)).where(*where)) or 0)
