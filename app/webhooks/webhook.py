"""Webhook of a job, as users specify it."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.kit.problems import Problem
from app.kit.tenants import tenant_of_request
from app.outbound.client import OutboundClient
from app.outbound.errors import OutboundError


class WebhookEvent(StrEnum):
    """Events that a webhook can receive."""

    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELED = "job.canceled"


class Webhook(BaseModel):
    """Receiver of notifications about the end of a job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(max_length=2048, description="An https address on the public internet.")]
    events: Annotated[
        tuple[WebhookEvent, ...], Field(min_length=1, max_length=8, description="Events to send. Default: all.")
    ] = tuple(WebhookEvent)


_FORM = 'a JSON object with the address, such as {"url": "https://example.org/ended"}'


def parse_webhook(text: bytes) -> Webhook:
    """Parse a webhook from JSON. Raises `Problem` (`invalid-webhook`)."""
    try:
        return Webhook.model_validate_json(text)
    except ValidationError as error:
        raise Problem.of_validation("invalid-webhook", error, within="webhook", form=_FORM) from error


async def check_address(webhook: Webhook, client: OutboundClient) -> None:
    """Raise `Problem` (`refused-address`) for an address that is not allowed."""
    try:
        await client.check_soon(webhook.url, tenant_of_request.get())
    except OutboundError as error:
        raise Problem.at("webhook.url", "refused-address", str(error)) from error
