"""The tables of uploads."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, UtcDateTime


class Upload(Base):
    """A tenant's uploaded checkpoint in the store, which its jobs can use until the row expires.

    `name` is the name of the file, if the tenant has sent one.
    """

    __tablename__ = "uploads"
    __table_args__ = (Index(None, "sha256"), Index(None, "expires_at"))

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class PartialUpload(Base):
    """A checkpoint that is uploaded in pieces. The first `received` of `length` bytes are on the disk."""

    __tablename__ = "partial_uploads"
    __table_args__ = (Index(None, "tenant"), Index(None, "expires_at"))

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64))
    length: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str | None] = mapped_column(String(200))
    received: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
