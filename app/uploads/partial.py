"""Checkpoints that are uploaded in pieces, over several requests.

The bytes are in a file in the artifact folder. The row counts the bytes that are durable; bytes after them are written
again. A complete file with the right digest is moved into the store before the row is updated. A `.checked` marker is
written before the move, so a crash is recoverable: if the row is not updated, the file is gone and the marker exists,
the store has the file. Without the marker, the file may be on another machine's disk; then the upload is unknown here,
because nobody may get a checkpoint by a digest without having sent it.
"""

import hashlib
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import uuid_utils
from sqlalchemy.orm import Session

from app.accounting.accounts import Accounts, lock_tenant
from app.accounting.discards import DiscardRepository, Discards, begin_to_use
from app.accounting.quotas import Quotas
from app.db.transactions import Sessions, transact
from app.http.content_digest import digest_mismatch
from app.kit.durable_files import LockFile, flush_folder, full_disk_told, is_locked, make_folder, older, require_room
from app.kit.problems import Problem
from app.settings import Settings
from app.storage import ArtifactMissing, ArtifactStore
from app.uploads.appender import Appender, lock
from app.uploads.models import PartialUpload
from app.uploads.partial_repository import PartialUploadRepository
from app.uploads.receiving import CHECKPOINT, check_checkpoint
from app.uploads.repository import UploadRepository

_CHECKED = ".checked"


class PartialUploads:
    """Creates, continues, finishes and deletes uploads in pieces."""

    def __init__(self, settings: Settings, sessions: Sessions, store: ArtifactStore, accounts: Accounts) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._accounts = accounts
        self._quotas = Quotas.of(settings)
        self.folder = settings.artifacts / "partial"
        make_folder(self.folder)
        self._clock = LockFile(settings.artifacts / "lock")

    def begin(self, tenant: str, length: int, sha256: str, name: str | None = None) -> PartialUpload:
        """Create an upload.

        Raises `Problem` (`checkpoint-too-large`, `too-many-uploads`, `storage-full`) and `DiskFull`.
        """
        if length > self._settings.max_upload_bytes:
            raise CHECKPOINT.too_large(self._settings.max_upload_bytes)
        require_room(self.folder, length, self._settings.disk_reserve)
        upload_id = f"upload_{uuid_utils.uuid7().hex}"
        with full_disk_told(self.folder):
            self._path(upload_id).touch()
            flush_folder(self.folder)

        def work(session: Session) -> PartialUpload:
            repository = PartialUploadRepository(session)
            lock_tenant(session, tenant)
            if self._quotas.limited:
                self._quotas.refuse_bytes(self._accounts.usage(session, tenant), length)
            if repository.count_unfinished(tenant) >= self._settings.max_partial_uploads:
                raise _too_many(self._settings.max_partial_uploads)
            return repository.add(upload_id, tenant, sha256, length, self._settings.keep_partial_uploads, name)

        try:
            return transact(self._sessions, work)
        except Problem:
            self._path(upload_id).unlink()
            raise

    def find(self, tenant: str, upload_id: str) -> PartialUpload:
        """Find an upload. Raises `Problem` (`unknown-upload`)."""
        upload = transact(self._sessions, lambda session: PartialUploadRepository(session).get(tenant, upload_id))
        if upload is None:
            raise _unknown()
        if upload.received < upload.length and not self._path(upload_id).exists():
            if not self._note(upload_id).exists():
                raise _unknown()
            return self._note_finished(upload)
        return upload

    def append(self, tenant: str, upload_id: str, offset: int) -> Appender:
        """Resume from the offset. The appender must be closed in all cases.

        Raises `Problem` (`unknown-upload`, `upload-locked`, `wrong-offset`).
        """
        self._expect(tenant, upload_id, offset)
        try:
            file = self._path(upload_id).open("rb+", buffering=0)
        except FileNotFoundError as error:
            raise _unknown() from error
        try:
            lock(file)
            # Another request may have appended before it released the lock.
            return Appender(self, self._expect(tenant, upload_id, offset), file)
        except BaseException:
            file.close()
            raise

    def _expect(self, tenant: str, upload_id: str, offset: int) -> PartialUpload:
        upload = self.find(tenant, upload_id)
        if upload.received != offset or offset == upload.length:
            raise _wrong_offset(upload.received)
        return upload

    def require_room(self, size: int) -> None:
        """Raise `DiskFull` unless `size` more bytes leave the reserve free."""
        require_room(self.folder, size, self._settings.disk_reserve)

    def advance(self, upload: PartialUpload, received: int) -> None:
        """Record that `received` bytes are on the disk. Raises `Problem` (`unknown-upload`) for a deleted upload."""

        def work(session: Session) -> bool:
            return PartialUploadRepository(session).advance(upload.id, received, self._settings.keep_partial_uploads)

        if not transact(self._sessions, work):
            raise _unknown()

    def finish(self, upload: PartialUpload) -> PartialUpload:
        """Check the complete file and move it into the store.

        Raises `Problem` (`digest-mismatch`, or the reason why it is not a checkpoint) and removes the upload; also
        `unknown-upload`, if it was deleted meanwhile. After `StoreUnavailable`, the last piece may be sent again.
        """
        path = self._path(upload.id)
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
                if found != upload.sha256:
                    raise digest_mismatch(upload.sha256, found, "upload-metadata")
                file.seek(0)
                check_checkpoint(file)
            with full_disk_told(self.folder):
                self._note(upload.id).touch()
                flush_folder(self.folder)
            self._store.adopt(path, upload.sha256)
        except Problem:
            self._forget(upload.tenant, upload.id)
            raise
        except FileNotFoundError as error:
            raise _unknown() from error
        flush_folder(self.folder)
        try:
            finished = self._note_finished(upload)
        except Problem:
            # It has expired meanwhile, but the store has the file.
            self._discard(upload)
            raise
        self._note(upload.id).unlink(missing_ok=True)
        return finished

    def give_up(self, tenant: str, upload_id: str) -> None:
        """Delete an upload and its bytes. Raises `Problem` (`unknown-upload`, `upload-locked`).

        It is refused while a request writes to the file, because the bytes would stay on the disk without counting.
        """
        self.find(tenant, upload_id)
        with suppress(FileNotFoundError), self._path(upload_id).open("rb+", buffering=0) as file:
            lock(file)
            self._forget(tenant, upload_id)
            return
        self._forget(tenant, upload_id)

    def _forget(self, tenant: str, upload_id: str) -> None:
        transact(self._sessions, lambda session: PartialUploadRepository(session).delete(tenant, upload_id))
        self._path(upload_id).unlink(missing_ok=True)
        self._note(upload_id).unlink(missing_ok=True)

    def _discard(self, upload: PartialUpload) -> None:
        files = {upload.sha256: upload.length}
        transact(self._sessions, lambda session: DiscardRepository(session, self._accounts).add(upload.tenant, files))
        Discards(self._sessions, self._store, self._accounts).remove([upload.sha256])

    def collect(self, grace: timedelta) -> None:
        """Delete expired uploads, and files older than `grace` without an upload."""
        transact(self._sessions, lambda session: PartialUploadRepository(session).expire())
        since = self._clock.now() - grace.total_seconds()
        old = [path for path in self.folder.iterdir() if older(path, since) and not is_locked(path)]
        names = [path.stem for path in old]
        known = transact(self._sessions, lambda session: PartialUploadRepository(session).known(names))
        for path in old:
            if path.stem not in known:
                path.unlink(missing_ok=True)

    def _note_finished(self, upload: PartialUpload) -> PartialUpload:
        """Record that the store has the file. Raises `Problem` (`unknown-upload`) if it has not, or there is no row."""

        def work(session: Session) -> PartialUpload:
            repository = PartialUploadRepository(session)
            if not repository.advance(upload.id, upload.length, self._settings.keep_partial_uploads):
                raise _unknown()
            try:
                begin_to_use(session, self._store, upload.sha256)
            except ArtifactMissing as error:
                raise _unknown() from error
            keep = self._settings.keep_uploads
            UploadRepository(session).add(upload.tenant, upload.sha256, upload.length, keep, upload.name)
            return session.get_one(PartialUpload, upload.id)

        return transact(self._sessions, work)

    def _path(self, upload_id: str) -> Path:
        return self.folder / upload_id

    def _note(self, upload_id: str) -> Path:
        """Return the path of the marker, which exists once the file is complete and verified."""
        return self.folder / f"{upload_id}{_CHECKED}"


def _wrong_offset(received: int) -> Problem:
    return Problem(
        HTTPStatus.CONFLICT,
        "wrong-offset",
        f"The upload has {received} bytes; send the rest from there, with Upload-Offset: {received}.",
        headers={"Upload-Offset": str(received)},
    )


def _too_many(most: int) -> Problem:
    return Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "too-many-uploads",
        f"You have {most} unfinished uploads, which is the limit; finish or DELETE one before you begin another.",
    )


def _unknown() -> Problem:
    return Problem(
        HTTPStatus.NOT_FOUND,
        "unknown-upload",
        "There is no upload with this id, or it has expired; start a new upload.",
    )
