"""Deliveries of jobs' webhooks, as tenants see them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from app.db.stored_documents import read_document, read_list
from app.db.transactions import Sessions, transact
from app.jobs.deliveries.models import WebhookDelivery
from app.jobs.deliveries.repository import DeliveryRepository
from app.webhooks.webhook import WebhookEvent


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
            attempts=[
                view for entry in read_list(delivery.log) if (view := read_document(AttemptView, entry)) is not None
            ],
        )


class DeliveryList(BaseModel):
    """Deliveries of a job, oldest first."""

    items: list[DeliveryView]


class DeliveryService:
    """Deliveries of jobs' webhooks."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def of_job(self, tenant: str, job_id: str) -> DeliveryList:
        """Return the deliveries of a job's webhook. Empty for a job without a webhook."""
        return transact(
            self._sessions,
            lambda session: DeliveryList(
                items=[DeliveryView.of(found) for found in DeliveryRepository(session).of_job(job_id, tenant)]
            ),
        )
