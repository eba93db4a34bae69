"""The table of data sets."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, UtcDateTime


class Dataset(Base):
    """A data set in the store that a tenant has uploaded, until it is deleted.

    `splits` is the structure of the file at the time of the upload, as `stored_structure` has it.
    """

    __tablename__ = "datasets"
    __table_args__ = (Index(None, "sha256"),)

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    splits: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
