"""Queries on leases. Callers own the transaction."""

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.db.transactions import current_time, insert_into
from app.retention.models import Lease


class LeaseRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def take(self, name: str, holder: str, duration: timedelta) -> bool:
        """Take or extend a lease. Returns False if another holder has it."""
        now = current_time(self._session)
        mine = {"holder": holder, "held_until": now + duration}
        self._session.execute(
            insert_into(self._session, Lease)
            .values(name=name, **mine)
            .on_conflict_do_update(
                index_elements=["name"], set_=mine, where=(Lease.held_until <= now) | (Lease.holder == holder)
            )
        )
        return self._session.scalars(select(Lease.holder).where(Lease.name == name)).one() == holder

    def release(self, name: str, holder: str) -> None:
        """Release a lease."""
        self._session.execute(delete(Lease).where(Lease.name == name, Lease.holder == holder))
