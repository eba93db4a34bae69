"""The tables of webhooks."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.jobs.models import Base, UtcDateTime


class WebhookDelivery(Base):
    """One event that a job's webhook is to be told, written in the transaction in which it has happened.

    At `due_at` it is to be sent. Without that it is delivered, at `delivered_at`, or given up. The `log` has one entry
    for each of the `attempts`.
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


class WebhookSecret(Base):
    """What a tenant's webhooks are signed with. After a rotation the `previous` secret signs too, for a while."""

    __tablename__ = "webhook_secrets"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    secret: Mapped[str] = mapped_column(String(100))
    previous: Mapped[str | None] = mapped_column(String(100))
    previous_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
