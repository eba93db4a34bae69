"""Queries on uploaded data sets, by tenant. Callers own the transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.accounting.discards import DiscardRepository
from app.datasets.models import Dataset
from app.db.engine import current_time
from app.storage import StoredArtifact
from nern_core.formats.dataset_structure import SplitStructure


class DatasetRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, tenant: str, name: str, stored: StoredArtifact, splits: Mapping[str, SplitStructure]) -> Dataset:
        """Insert a data set under a free name."""
        dataset = Dataset(
            tenant=tenant,
            name=name,
            sha256=stored.sha256,
            bytes=stored.size,
            splits={split: asdict(structure) for split, structure in splits.items()},
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

    def delete(self, tenant: str, name: str) -> str | None:
        """Delete a data set and discard its file; return the file's digest, or None if there was no data set."""
        named = delete(Dataset).where(Dataset.tenant == tenant, Dataset.name == name)
        removed = self._session.execute(
            named.returning(Dataset.sha256, Dataset.bytes), execution_options={"synchronize_session": False}
        ).one_or_none()
        if removed is None:
            return None
        self._session.expire_all()
        DiscardRepository(self._session).add(tenant, {removed.sha256: removed.bytes})
        return str(removed.sha256)
