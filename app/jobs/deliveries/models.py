"""The table of deliveries."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, UtcDateTime


class WebhookDelivery(Base):
    """Delivery of one event to a job's webhook, written in the transaction of the event.

    It is due at `due_at`. If that is null, it was delivered at `delivered_at`, or given up. The `log` has one entry per
    attempt.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index(None, "due_at"), Index(None, "job_id"))

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(40))
    tenant: Mapped[str] = mapped_column(String(64))
    event: Mapped[str] = mapped_column(String(32))
    attempts: Mapped[int] = mapped_column(default=0)
    log: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
