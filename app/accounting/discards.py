"""Queries on discarded files. Callers own the transaction.

Files are removed at once. A lock separates removals from transactions that begin to use a file: a user shares the lock
from renewing the file to the end of its transaction; a remover holds it exclusively while it checks for rows and
removes. Files are spread over 64 locks, so that a slow removal rarely delays others.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.accounting.accounts import Accounts
from app.accounting.models import DiscardedFile
from app.db.transactions import Sessions, insert_into, transact
from app.storage import ArtifactStore

_log = structlog.get_logger()
_PAGE = 500
_LOCKS = 64


def begin_to_use(session: Session, store: ArtifactStore, *digests: str) -> None:
    """Keep files, because rows of this transaction will name them. Raises `ArtifactMissing`."""
    lock_files(session, digests, shared=True)
    for sha256 in digests:
        store.renew(sha256)


def lock_files(session: Session, digests: Iterable[str], *, shared: bool = False) -> None:
    """Lock these files until the transaction ends: shared to use them, exclusively to remove them.

    A transaction that uses several files locks all of them first, so that locks are always taken in the same order.
    """
    # SQLite has only one writer, because of BEGIN IMMEDIATE.
    if session.get_bind().dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        for number in sorted({int(digest, 16) % _LOCKS for digest in digests}):
            session.execute(select(lock(func.hashtextextended(f"discarded files {number}", 1))))


class Discards:
    """Removes discarded files."""

    def __init__(self, sessions: Sessions, store: ArtifactStore, accounts: Accounts) -> None:
        self._sessions = sessions
        self._store = store
        self._accounts = accounts

    def remove(self, digests: Sequence[str]) -> None:
        """Remove those of the files that no row names. Failures are left to the collector."""
        removed = []
        try:
            for digest in digests:
                removed += [digest] * transact(self._sessions, partial(self._remove, digest))
        except (OSError, SQLAlchemyError) as error:
            _log.warning("discarded_files_left", error=repr(error))
        if removed:
            _log.info("artifacts_removed", digests=removed)

    def remove_all(self) -> None:
        """Remove the files that could not be removed when they were discarded."""
        after = ""
        while page := transact(self._sessions, partial(self._page, after)):
            self.remove(page)
            after = page[-1]

    def _remove(self, digest: str, session: Session) -> bool:
        return DiscardRepository(session, self._accounts).remove(digest, self._store)

    def _page(self, after: str, session: Session) -> Sequence[str]:
        return DiscardRepository(session, self._accounts).page(after, _PAGE)


class DiscardRepository:
    """Queries of one session."""

    def __init__(self, session: Session, accounts: Accounts) -> None:
        self._session = session
        self._accounts = accounts

    def add(self, tenant: str, files: Mapping[str, int]) -> None:
        """Count these files (sizes by digest) for the tenant until they are removed.

        Call it after the rows that named them are deleted. Files that another row still counts are left out.
        """
        lock_files(self._session, files)
        counted = self._accounts.counted(self._session, files)
        rows = [
            {"tenant": tenant, "sha256": sha256, "bytes": size}
            for sha256, size in files.items()
            if sha256 not in counted
        ]
        if rows:
            self._session.execute(insert_into(self._session, DiscardedFile).values(rows).on_conflict_do_nothing())

    def page(self, after: str, limit: int) -> Sequence[str]:
        """Return up to `limit` digests of discarded files, sorted, starting after `after`."""
        query = select(DiscardedFile.sha256).where(DiscardedFile.sha256 > after).distinct()
        return self._session.scalars(query.order_by(DiscardedFile.sha256).limit(limit)).all()

    def remove(self, sha256: str, store: ArtifactStore) -> bool:
        """Remove a discarded file from the store, unless a row names it; return whether it was removed.

        A file that another row counts is no longer counted here. Raises `StoreUnavailable`.
        """
        lock_files(self._session, [sha256])
        in_use = bool(self._accounts.named(self._session, [sha256]))
        if not in_use:
            store.remove_unused(sha256, math.inf)
        if not in_use or self._accounts.counted(self._session, [sha256]):
            self._session.execute(delete(DiscardedFile).where(DiscardedFile.sha256 == sha256))
        return not in_use
