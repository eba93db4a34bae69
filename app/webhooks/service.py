"""Operations of tenants on webhooks; each method is one unit of work."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from app.db.stored_documents import read_document
from app.db.transactions import Sessions, transact
from app.webhooks.models import WebhookDelivery, WebhookSecret
from app.webhooks.repository import WebhookRepository
from app.webhooks.webhook import WebhookEvent

_OVERLAP = timedelta(days=1)


class DeliveryStatus(StrEnum):
    """pending → delivered | failed."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class AttemptView(BaseModel):
    """One attempt, with the status of the answer or the error."""

    at: datetime
    status_code: int | None
    error: str | None
    milliseconds: int


class DeliveryView(BaseModel):
    """Delivery of one event; its `id` is the header `webhook-id` of every attempt."""

    id: str
    event: WebhookEvent | SkipJsonSchema[str]
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: Annotated[datetime | None, Field(description="Time of the next attempt; null after the last one.")]
    delivered_at: datetime | None
    attempts: list[AttemptView]

    @classmethod
    def of(cls, delivery: WebhookDelivery) -> Self:
        """Return the view of a row."""
        pending = DeliveryStatus.FAILED if delivery.due_at is None else DeliveryStatus.PENDING
        return cls(
            id=delivery.id,
            event=delivery.event,
            status=pending if delivery.delivered_at is None else DeliveryStatus.DELIVERED,
            created_at=delivery.created_at,
            next_attempt_at=delivery.due_at,
            delivered_at=delivery.delivered_at,
            attempts=[view for entry in delivery.log if (view := read_document(AttemptView, entry)) is not None],
        )


class DeliveryList(BaseModel):
    """Deliveries of a job, oldest first."""

    items: list[DeliveryView]


class SecretView(BaseModel):
    """Signing secret of webhooks. Until `previous_until`, messages also carry the previous secret's signature."""

    secret: str
    previous_until: datetime | None

    @classmethod
    def of(cls, secret: WebhookSecret) -> Self:
        """Return the view of a row."""
        return cls(secret=secret.secret, previous_until=secret.previous_until)


class WebhookService:
    """Deliveries and secrets of webhooks."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def deliveries(self, tenant: str, job_id: str) -> DeliveryList:
        """Return the deliveries of a job's webhook. Empty for a job without a webhook."""
        return transact(
            self._sessions,
            lambda session: DeliveryList(
                items=[DeliveryView.of(found) for found in WebhookRepository(session).of_job(job_id, tenant)]
            ),
        )

    def secret(self, tenant: str) -> SecretView:
        """Return the tenant's secret."""
        return transact(self._sessions, lambda session: SecretView.of(WebhookRepository(session).secret(tenant)))

    def rotate(self, tenant: str) -> SecretView:
        """Create a new secret; the previous one also signs for a day."""
        return transact(
            self._sessions, lambda session: SecretView.of(WebhookRepository(session).rotate(tenant, _OVERLAP))
        )
