"""Queries on uploads, by tenant. Callers own the transaction."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import timedelta

from sqlalchemy import case, delete, func, select
from sqlalchemy.orm import Session

from app.accounting.quotas import SMALLEST_FILE, Usage
from app.db.transactions import current_time
from app.storage import StoredArtifact
from app.uploads.models import PartialUpload, Upload


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

    def delete(self, tenant: str, sha256: str) -> StoredArtifact | None:
        """Delete an upload; return its file, which the caller discards, or None if there was no upload."""
        named = delete(Upload).where(Upload.tenant == tenant, Upload.sha256 == sha256).returning(Upload.bytes)
        size = self._session.scalar(named, execution_options={"synchronize_session": False})
        self._session.expire_all()
        return None if size is None else StoredArtifact(sha256, size)

    def pass_on(self, tenant: str, sha256: str) -> None:
        """Delete an upload whose file another row of the same transaction keeps for the tenant."""
        self._session.execute(delete(Upload).where(Upload.tenant == tenant, Upload.sha256 == sha256))

    def expire(self) -> Mapping[str, Mapping[str, int]]:
        """Delete expired uploads; return their files (sizes by digest) by tenant, which the caller discards."""
        removed = delete(Upload).where(Upload.expires_at <= current_time(self._session))
        rows = self._session.execute(
            removed.returning(Upload.tenant, Upload.sha256, Upload.bytes),
            execution_options={"synchronize_session": False},
        ).all()
        self._session.expire_all()
        files: dict[str, dict[str, int]] = defaultdict(dict)
        for tenant, sha256, size in rows:
            files[tenant][sha256] = size
        return files

    def usage(self, tenant: str) -> Usage:
        """Return the bytes of the tenant's uploads, and of those that are arriving in pieces."""
        size = case((Upload.bytes < SMALLEST_FILE, SMALLEST_FILE), else_=Upload.bytes)
        whole = self._session.scalar(select(func.coalesce(func.sum(size), 0)).where(Upload.tenant == tenant))
        arriving = self._session.scalar(
            select(func.coalesce(func.sum(PartialUpload.length), 0)).where(
                PartialUpload.tenant == tenant, PartialUpload.received < PartialUpload.length
            )
        )
        return Usage(0, int(whole or 0) + int(arriving or 0))

    def named(self, digests: Collection[str]) -> set[str]:
        """Return those of the files that are uploads."""
        return set(self._session.scalars(select(Upload.sha256).where(Upload.sha256.in_(digests))))

    def counted(self, digests: Collection[str]) -> set[str]:
        """Return those of the files that count as uploads."""
        return self.named(digests)
