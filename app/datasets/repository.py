"""Queries on uploaded data sets, by tenant. Callers own the transaction."""

from collections.abc import Collection, Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.accounting.quotas import Usage
from app.datasets.models import Dataset
from app.datasets.stored_structure import stored_structure
from app.db.transactions import current_time
from app.storage import StoredArtifact
from nern_core.formats.dataset_structure import DatasetStructure


class DatasetRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, tenant: str, name: str, stored: StoredArtifact, structure: DatasetStructure) -> Dataset:
        """Insert a data set under a free name."""
        dataset = Dataset(
            tenant=tenant,
            name=name,
            sha256=stored.sha256,
            bytes=stored.size,
            splits=stored_structure(structure),
            created_at=current_time(self._session),
        )
        self._session.add(dataset)
        self._session.flush()
        return dataset

    def get(self, tenant: str, name: str) -> Dataset | None:
        """Find a data set of a tenant; None for an unknown one, and for one of another tenant."""
        return self._session.get(Dataset, (tenant, name))

    def all(self, tenant: str) -> Sequence[Dataset]:
        """Return the data sets of a tenant, by name."""
        return self._session.scalars(select(Dataset).where(Dataset.tenant == tenant).order_by(Dataset.name)).all()

    def count(self, tenant: str) -> int:
        """Count the tenant's data sets."""
        return self._session.scalars(select(func.count()).where(Dataset.tenant == tenant)).one()

    def delete(self, tenant: str, name: str) -> StoredArtifact | None:
        """Delete a data set; return its file, which the caller discards, or None if there was no data set."""
        named = delete(Dataset).where(Dataset.tenant == tenant, Dataset.name == name)
        removed = self._session.execute(
            named.returning(Dataset.sha256, Dataset.bytes), execution_options={"synchronize_session": False}
        ).one_or_none()
        self._session.expire_all()
        return None if removed is None else StoredArtifact(removed.sha256, removed.bytes)

    def usage(self, tenant: str) -> Usage:
        """Return the bytes of the tenant's data sets."""
        query = select(func.coalesce(func.sum(Dataset.bytes), 0)).where(Dataset.tenant == tenant)
        return Usage(0, int(self._session.scalar(query) or 0))

    def named(self, digests: Collection[str]) -> set[str]:
        """Return those of the files that are data sets."""
        return set(self._session.scalars(select(Dataset.sha256).where(Dataset.sha256.in_(digests))))

    def counted(self, digests: Collection[str]) -> set[str]:
        """Return those of the files that count as data sets."""
        return self.named(digests)
