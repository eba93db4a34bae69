"""The table of workers that cannot work."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, UtcDateTime


class UnfitWorker(Base):
    """A worker that cannot take jobs because of its machine, the reason, and the time of its last report."""

    __tablename__ = "unfit_workers"

    worker: Mapped[str] = mapped_column(String(255), primary_key=True)
    reason: Mapped[str] = mapped_column(String(32))
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
