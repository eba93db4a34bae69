"""What a tenant can see and do about its webhooks: each method is one unit of work."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from app.database import Sessions, transact
from app.stored_documents import read_document
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
    """One attempt. There is a status, or the reason why there was no answer."""

    at: datetime
    status_code: int | None
    error: str | None
    milliseconds: int


class DeliveryView(BaseModel):
    """An event on its way; its `id` is the header `webhook-id` of every attempt."""

    id: str
    event: WebhookEvent | SkipJsonSchema[str]
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: Annotated[datetime | None, Field(description="When it is tried next; null: no more.")]
    delivered_at: datetime | None
    attempts: list[AttemptView]

    @classmethod
    def of(cls, delivery: WebhookDelivery) -> Self:
        """The view of a row."""
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
    """The deliveries of a job, the first one first."""

    items: list[DeliveryView]


class SecretView(BaseModel):
    """What webhooks are signed with. After a rotation they carry the previous secret's signature too, until then."""

    secret: str
    previous_until: datetime | None

    @classmethod
    def of(cls, secret: WebhookSecret) -> Self:
        """The view of a row."""
        return cls(secret=secret.secret, previous_until=secret.previous_until)


class WebhookService:
    """What is asked about webhooks."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def deliveries(self, tenant: str, job_id: str) -> DeliveryList:
        """What a job's webhook was told, or is to be told. Empty for a job without."""
        return transact(
            self._sessions,
            lambda session: DeliveryList(
                items=[DeliveryView.of(found) for found in WebhookRepository(session).of_job(job_id, tenant)]
            ),
        )

    def secret(self, tenant: str) -> SecretView:
        """The tenant's secret."""
        return transact(self._sessions, lambda session: SecretView.of(WebhookRepository(session).secret(tenant)))

    def rotate(self, tenant: str) -> SecretView:
        """Make a new secret; the one before signs too for a day."""
        return transact(
            self._sessions, lambda session: SecretView.of(WebhookRepository(session).rotate(tenant, _OVERLAP))
        )
