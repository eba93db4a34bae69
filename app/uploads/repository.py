"""Queries on uploads, by tenant. Callers own the transaction."""

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from app.accounting.discards import DiscardRepository
from app.db.engine import current_time
from app.uploads.models import Upload


class UploadRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, tenant: str, sha256: str, size: int, keep: timedelta, name: str | None = None) -> Upload:
        """Record that a tenant has sent a checkpoint; a repeat extends its expiry, and can name it."""
        now = current_time(self._session)
        named = {} if name is None else {"name": name}
        upload = self._session.merge(
            Upload(tenant=tenant, sha256=sha256, bytes=size, created_at=now, expires_at=now + keep, **named)
        )
        self._session.flush()
        return upload

    def get(self, tenant: str, sha256: str) -> Upload | None:
        """Find a tenant's upload that has not expired."""
        query = select(Upload).where(
            Upload.tenant == tenant, Upload.sha256 == sha256, Upload.expires_at > current_time(self._session)
        )
        return self._session.scalars(query).one_or_none()

    def renew(self, upload: Upload, keep: timedelta) -> None:
        """Extend the expiry of an upload."""
        upload.expires_at = current_time(self._session) + keep
        self._session.flush()

    def delete(self, tenant: str, sha256: str) -> bool:
        """Delete an upload and discard its file. False: it did not exist."""
        return self._discard(Upload.tenant == tenant, Upload.sha256 == sha256) == 1

    def pass_on(self, tenant: str, sha256: str) -> None:
        """Delete an upload whose file another row of the same transaction keeps for the tenant."""
        self._session.execute(delete(Upload).where(Upload.tenant == tenant, Upload.sha256 == sha256))

    def expire(self) -> int:
        """Delete expired uploads and discard their files; return their number."""
        return self._discard(Upload.expires_at <= current_time(self._session))

    def _discard(self, *where: ColumnElement[bool]) -> int:
        removed = delete(Upload).where(*where).returning(Upload.tenant, Upload.sha256, Upload.bytes)
        rows = self._session.execute(removed, execution_options={"synchronize_session": False}).all()
        self._session.expire_all()
        for tenant, sha256, size in rows:
            DiscardRepository(self._session).add(tenant, {sha256: size})
        return len(rows)
