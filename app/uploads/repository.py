"""Every query on uploads, by tenant. Callers own the transaction."""

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from app.accounting.discards import DiscardRepository
from app.database import current_time
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
        """Forget an upload and discard its file. False: there was none."""
        return self._discard(Upload.tenant == tenant, Upload.sha256 == sha256) == 1

    def pass_on(self, tenant: str, sha256: str) -> None:
        """Forget an upload whose file the tenant keeps under another row of the same transaction."""
        self._session.execute(delete(Upload).where(Upload.tenant == tenant, Upload.sha256 == sha256))

    def expire(self) -> int:
        """Forget uploads that have expired, and discard their files; returns how many."""
        return self._discard(Upload.expires_at <= current_time(self._session))

    def _discard(self, *where: ColumnElement[bool]) -> int:
        removed = delete(Upload).where(*where).returning(Upload.tenant, Upload.sha256, Upload.bytes)
        rows = self._session.execute(removed, execution_options={"synchronize_session": False}).all()
        self._session.expire_all()
        for tenant, sha256, size in rows:
            DiscardRepository(self._session).add(tenant, {sha256: size})
        return len(rows)
