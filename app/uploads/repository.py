"""Every query on uploads, by tenant. Callers own the transaction."""

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.database import current_time, rows_changed
from app.uploads.models import Upload


class UploadRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, tenant: str, sha256: str, size: int, keep: timedelta) -> Upload:
        """Note that a tenant has sent a checkpoint, or has sent it again."""
        now = current_time(self._session)
        upload = self._session.merge(
            Upload(tenant=tenant, sha256=sha256, bytes=size, created_at=now, expires_at=now + keep)
        )
        self._session.flush()
        return upload

    def get(self, tenant: str, sha256: str) -> Upload | None:
        """Find a checkpoint that this tenant has sent and that has not expired."""
        query = select(Upload).where(
            Upload.tenant == tenant, Upload.sha256 == sha256, Upload.expires_at > current_time(self._session)
        )
        return self._session.scalars(query).one_or_none()

    def renew(self, upload: Upload, keep: timedelta) -> None:
        """Keep an upload for another while."""
        upload.expires_at = current_time(self._session) + keep
        self._session.flush()

    def delete(self, tenant: str, sha256: str) -> bool:
        """Forget an upload. False: there was none."""
        named = delete(Upload).where(Upload.tenant == tenant, Upload.sha256 == sha256)
        return rows_changed(self._session, named) == 1

    def expire(self) -> int:
        """Forget what has expired; returns how many."""
        return rows_changed(self._session, delete(Upload).where(Upload.expires_at <= current_time(self._session)))
