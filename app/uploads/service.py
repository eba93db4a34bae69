"""Operations on separately uploaded checkpoints; each method is one unit of work."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Self

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app.accounting.accounts import Accounts, lock_tenant
from app.accounting.discards import DiscardRepository, Discards, begin_to_use
from app.accounting.quotas import Quotas
from app.accounting.reservations import ReservedRoom
from app.db.transactions import Sessions, transact
from app.kit.problems import Problem
from app.settings import Settings
from app.storage import ArtifactMissing, ArtifactStore, StoredArtifact
from app.uploads.models import Upload
from app.uploads.repository import UploadRepository


class UploadView(BaseModel):
    """A checkpoint that jobs can name by its SHA-256 until it expires."""

    sha256: str
    bytes: int
    name: Annotated[str | None, Field(description="The file's name, if it was sent: the default name of jobs.")]
    expires_at: datetime

    @classmethod
    def of(cls, upload: Upload) -> Self:
        """Return the view of a row."""
        return cls(sha256=upload.sha256, bytes=upload.bytes, name=upload.name, expires_at=upload.expires_at)


class UploadService:
    """Adds, finds and deletes uploads."""

    def __init__(self, settings: Settings, sessions: Sessions, store: ArtifactStore, accounts: Accounts) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._quotas = Quotas.of(settings)
        self._accounts = accounts
        self._discards = Discards(sessions, store, accounts)

    def add(self, tenant: str, stored: StoredArtifact, room: ReservedRoom, name: str | None = None) -> UploadView:
        """Add a checkpoint that a tenant has sent; its bytes take the place of the reserved ones.

        Raises `Problem` (`storage-full`; `unknown-checkpoint` if the file was removed meanwhile).
        """

        def work(session: Session) -> UploadView:
            uploads = UploadRepository(session)
            room.settle(session)
            if self._quotas.limited and uploads.get(tenant, stored.sha256) is None:
                lock_tenant(session, tenant)
                self._quotas.refuse_bytes(self._accounts.usage(session, tenant), stored.size)
            upload = uploads.add(tenant, stored.sha256, stored.size, self._settings.keep_uploads, name)
            view = UploadView.of(upload)
            self._renew(session, stored.sha256)
            return view

        return transact(self._sessions, work)

    def get(self, tenant: str, sha256: str) -> UploadView:
        """Find an upload. Raises `Problem` (`unknown-checkpoint`)."""

        def work(session: Session) -> UploadView:
            upload = UploadRepository(session).get(tenant, sha256)
            if upload is None:
                raise _no_such_checkpoint()
            return UploadView.of(upload)

        return transact(self._sessions, work)

    def use(
        self, tenant: str, sha256: str, find_elsewhere: Callable[[Session], int | None]
    ) -> tuple[StoredArtifact, str | None]:
        """Find the checkpoint that a job names: an upload, whose expiry is extended, or a file found elsewhere.

        `find_elsewhere` returns the size of another file of the tenant with this digest, or None. Returns the file and
        its name, if that is known. Raises `Problem` (`unknown-checkpoint`, also for files of other tenants).
        """

        def work(session: Session) -> tuple[StoredArtifact, str | None]:
            repository = UploadRepository(session)
            upload = repository.get(tenant, sha256)
            if upload is not None:
                repository.renew(upload, self._settings.keep_uploads)
            size = find_elsewhere(session) if upload is None else upload.bytes
            if size is None:
                raise unknown_checkpoint()
            self._renew(session, sha256)
            return StoredArtifact(sha256, size), None if upload is None else upload.name

        return transact(self._sessions, work)

    def delete(self, tenant: str, sha256: str) -> None:
        """Delete an upload; jobs that use it keep its file. Raises `Problem` (`unknown-checkpoint`)."""

        def work(session: Session) -> bool:
            file = UploadRepository(session).delete(tenant, sha256)
            if file is not None:
                DiscardRepository(session, self._accounts).add(tenant, {file.sha256: file.size})
            return file is not None

        if not transact(self._sessions, work):
            raise _no_such_checkpoint()
        self._discards.remove([sha256])

    def _renew(self, session: Session, sha256: str) -> None:
        try:
            begin_to_use(session, self._store, sha256)
        except ArtifactMissing as error:
            raise unknown_checkpoint() from error


_UNKNOWN = "There is no file of yours with this SHA-256, or it has expired; send it to POST /checkpoints."


def _no_such_checkpoint() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "unknown-checkpoint", _UNKNOWN)


def unknown_checkpoint() -> Problem:
    """Return the problem for a job that names a checkpoint that its tenant has not sent."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "unknown-checkpoint", _UNKNOWN)
