"""The tables of reserved and discarded bytes."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, UtcDateTime


class Reservation(Base):
    """Space for a file that a tenant is sending. It counts until the request ends or the row expires."""

    __tablename__ = "reservations"
    __table_args__ = (Index(None, "tenant"), Index(None, "expires_at"))

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class DiscardedFile(Base):
    """A file that a tenant no longer needs. It counts for that tenant until it is removed from the store."""

    __tablename__ = "discarded_files"
    __table_args__ = (Index(None, "sha256"),)

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
