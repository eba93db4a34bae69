"""Queries on uploads in pieces. Callers own the transaction."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.db.transactions import current_time, rows_changed
from app.uploads.models import PartialUpload


class PartialUploadRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(
        self, upload_id: str, tenant: str, sha256: str, length: int, keep: timedelta, name: str | None
    ) -> PartialUpload:
        """Insert an upload without bytes; a repeat resets it."""
        upload = self._session.merge(
            PartialUpload(
                id=upload_id,
                tenant=tenant,
                sha256=sha256,
                length=length,
                name=name,
                received=0,
                expires_at=current_time(self._session) + keep,
            )
        )
        self._session.flush()
        return upload

    def count_unfinished(self, tenant: str) -> int:
        """Count the tenant's unfinished uploads."""
        query = select(func.count()).where(
            PartialUpload.tenant == tenant,
            PartialUpload.received < PartialUpload.length,
            PartialUpload.expires_at > current_time(self._session),
        )
        return self._session.scalars(query).one()

    def get(self, tenant: str, upload_id: str) -> PartialUpload | None:
        """Find an upload of the tenant that has not expired."""
        query = select(PartialUpload).where(
            PartialUpload.id == upload_id,
            PartialUpload.tenant == tenant,
            PartialUpload.expires_at > current_time(self._session),
        )
        return self._session.scalars(query).one_or_none()

    def advance(self, upload_id: str, received: int, keep: timedelta) -> bool:
        """Record that `received` bytes are on the disk. False: the upload was deleted, or already has more."""
        further = (
            update(PartialUpload)
            .where(PartialUpload.id == upload_id, PartialUpload.received <= received)
            .values(received=received, expires_at=current_time(self._session) + keep)
            .execution_options(synchronize_session=False)
        )
        return rows_changed(self._session, further) == 1

    def delete(self, tenant: str, upload_id: str) -> bool:
        """Delete an upload. False: it did not exist."""
        named = delete(PartialUpload).where(PartialUpload.id == upload_id, PartialUpload.tenant == tenant)
        return rows_changed(self._session, named) == 1

    def expire(self) -> None:
        """Delete expired uploads."""
        self._session.execute(delete(PartialUpload).where(PartialUpload.expires_at <= current_time(self._session)))

    def known(self, upload_ids: Sequence[str]) -> set[str]:
        """Return those of the ids that exist."""
        return set(self._session.scalars(select(PartialUpload.id).where(PartialUpload.id.in_(upload_ids))))
