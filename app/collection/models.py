"""The table of leases."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.jobs.models import Base, UtcDateTime


class Lease(Base):
    """Which process does a thing that one is enough for, and until when it has that to itself."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    holder: Mapped[str] = mapped_column(String(32))
    held_until: Mapped[datetime] = mapped_column(UtcDateTime)
