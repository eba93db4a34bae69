"""Operations on data sets; each method is one unit of work."""

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO

from sqlalchemy.orm import Session

from app.accounting.accounts import Accounts, lock_tenant
from app.accounting.discards import DiscardRepository, Discards, begin_to_use
from app.accounting.quotas import Quotas
from app.accounting.reservations import ReservedRoom
from app.datasets.catalogue import offered_datasets
from app.datasets.folders import offers, resolve_folder
from app.datasets.models import Dataset
from app.datasets.repository import DatasetRepository
from app.datasets.views import DatasetList, DatasetView
from app.db.transactions import Sessions, transact
from app.kit.problems import Problem
from app.settings import Settings
from app.storage import ArtifactMissing, ArtifactStore, StoredArtifact
from app.uploads.receiving import FileKind
from app.uploads.repository import UploadRepository
from nern_core.contract.errors import NernError
from nern_core.formats.dataset_structure import DatasetStructure, dataset_structure_of

# Also the name of the runner's file, so it must be a single part of a path.
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
MOST_DATASETS = 1000


@dataclass(frozen=True, slots=True)
class NamedDataset:
    """The data set of a job's option `dataset`: a folder by its path, or an uploaded file, `stored`, by its name."""

    name: str
    stored: StoredArtifact | None = None


def structure_of(file: BinaryIO) -> DatasetStructure:
    """Return the structure of an uploaded file. Raises `Problem` (`not-a-dataset`)."""
    try:
        return dataset_structure_of(file)
    except NernError as error:
        raise Problem.of_input(error) from error


def _check_dataset(file: BinaryIO) -> int:
    structure_of(file)
    return 0


DATASET = FileKind("data set", _check_dataset)


class DatasetService:
    """Adds, lists, finds and deletes data sets."""

    def __init__(self, settings: Settings, sessions: Sessions, store: ArtifactStore, accounts: Accounts) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._quotas = Quotas.of(settings)
        self._accounts = accounts
        self._discards = Discards(sessions, store, accounts)

    def admit(self, tenant: str, name: str, sha256: str | None) -> None:
        """Refuse a data set before it arrives, if its name is taken or there are too many; the digest may be unknown.

        Raises `Problem` (`dataset-exists`, `too-many-datasets`).
        """
        self._refuse_offered(name)

        def work(session: Session) -> None:
            existing = DatasetRepository(session).get(tenant, name)
            if existing is None:
                _refuse_more_than_most(session, tenant)
            elif sha256 not in {None, existing.sha256}:
                raise _taken(name)

        transact(self._sessions, work)

    def add(self, tenant: str, name: str, stored: StoredArtifact, room: ReservedRoom) -> DatasetView:
        """Add a data set that a tenant has sent with a reservation; a repeat is a no-op.

        Raises `Problem` (`dataset-exists`, `too-many-datasets`, `storage-full`, `not-a-dataset`, `unknown-upload`).
        """
        self._refuse_offered(name)

        def work(session: Session) -> DatasetView:
            lock_tenant(session, tenant)
            room.settle(session)
            existing = DatasetRepository(session).get(tenant, name)
            return self._again(session, existing, stored) if existing else self._new(session, tenant, name, stored)

        return transact(self._sessions, work)

    def adopt(self, tenant: str, name: str, sha256: str) -> DatasetView:
        """Convert a finished upload to a data set; it is no longer an upload then.

        Raises `Problem` as `add` does.
        """
        self._refuse_offered(name)

        def work(session: Session) -> DatasetView:
            lock_tenant(session, tenant)
            uploads = UploadRepository(session)
            upload, existing = uploads.get(tenant, sha256), DatasetRepository(session).get(tenant, name)
            found = upload or existing
            if found is None:
                raise _unknown_upload()
            stored = StoredArtifact(sha256, found.bytes)
            # Its bytes count once.
            uploads.pass_on(tenant, sha256)
            return self._again(session, existing, stored) if existing else self._new(session, tenant, name, stored)

        return transact(self._sessions, work)

    def all(self, tenant: str) -> DatasetList:
        """Return the data sets that the tenant's jobs can use, by name."""
        own = transact(self._sessions, lambda session: DatasetRepository(session).all(tenant))
        found = {view.name: view for view in offered_datasets(self._settings)}
        found |= {dataset.name: DatasetView.of(dataset) for dataset in own}
        any_folder = self._settings.embedded and not self._settings.dataset_roots
        return DatasetList(items=[found[name] for name in sorted(found)], any_folder=any_folder)

    def get(self, tenant: str, name: str) -> DatasetView:
        """Find a data set that the tenant has uploaded. Raises `Problem` (`unknown-dataset`)."""
        found = transact(self._sessions, lambda session: DatasetRepository(session).get(tenant, name))
        if found is None:
            raise _unknown(name)
        return DatasetView.of(found)

    def delete(self, tenant: str, name: str) -> None:
        """Delete a data set; jobs that use it keep it until they end. Raises `Problem` (`unknown-dataset`)."""

        def work(session: Session) -> StoredArtifact | None:
            file = DatasetRepository(session).delete(tenant, name)
            if file is not None:
                DiscardRepository(session, self._accounts).add(tenant, {file.sha256: file.size})
            return file

        file = transact(self._sessions, work)
        if file is None:
            raise _unknown(name)
        self._discards.remove([file.sha256])

    def resolve(self, tenant: str, name: str) -> NamedDataset:
        """Find an uploaded data set of the tenant, or else a folder. Raises `Problem` (`unknown-dataset`)."""
        if re.fullmatch(NAME_PATTERN, name):
            stored = transact(self._sessions, lambda session: self._use(session, tenant, name))
            if stored is not None:
                return NamedDataset(name, stored)
        return NamedDataset(resolve_folder(name, self._settings))

    def _use(self, session: Session, tenant: str, name: str) -> StoredArtifact | None:
        found = DatasetRepository(session).get(tenant, name)
        if found is None:
            return None
        try:
            begin_to_use(session, self._store, found.sha256)
        except ArtifactMissing as error:
            raise dataset_lost() from error
        return StoredArtifact(found.sha256, found.bytes)

    def _new(self, session: Session, tenant: str, name: str, stored: StoredArtifact) -> DatasetView:
        self._refuse_more(session, tenant, stored.size)
        try:
            begin_to_use(session, self._store, stored.sha256)
            with self._store.open(stored.sha256) as file:
                structure = structure_of(file)
        except ArtifactMissing as error:
            raise _unknown_upload() from error
        return DatasetView.of(DatasetRepository(session).add(tenant, name, stored, structure))

    def _again(self, session: Session, existing: Dataset, stored: StoredArtifact) -> DatasetView:
        if existing.sha256 != stored.sha256:
            raise _taken(existing.name)
        try:
            begin_to_use(session, self._store, stored.sha256)
        except ArtifactMissing as error:
            raise _unknown_upload() from error
        return DatasetView.of(existing)

    def _refuse_more(self, session: Session, tenant: str, size: int) -> None:
        _refuse_more_than_most(session, tenant)
        if self._quotas.limited:
            self._quotas.refuse_bytes(self._accounts.usage(session, tenant), size)

    def _refuse_offered(self, name: str) -> None:
        if offers(name, self._settings):
            raise Problem(
                HTTPStatus.CONFLICT,
                "dataset-exists",
                f"The service offers a data set named '{name}' to everybody; choose another name.",
            )


def _refuse_more_than_most(session: Session, tenant: str) -> None:
    if DatasetRepository(session).count(tenant) >= MOST_DATASETS:
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "too-many-datasets",
            f"You have {MOST_DATASETS:,} data sets, which is the limit; delete one before you send another.",
        )


def dataset_lost() -> Problem:
    """Return the problem for a data set whose file the store has lost."""
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "dataset-lost",
        "The file of this data set is gone; send it again under the same name to POST /datasets.",
    )


def _taken(name: str) -> Problem:
    return Problem(
        HTTPStatus.CONFLICT,
        "dataset-exists",
        f"You have another data set named '{name}'; choose another name, or DELETE /datasets/{name} first.",
    )


def _unknown(name: str) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "unknown-dataset", f"You have not uploaded a data set named '{name}'.")


def _unknown_upload() -> Problem:
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "unknown-upload",
        "There is no finished upload of yours with this SHA-256, or it has expired; send the file again.",
    )
