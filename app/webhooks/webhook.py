"""What a job says of its webhook."""

from enum import StrEnum
from http import HTTPStatus
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.access.caller import tenant_of_request
from app.outbound.client import OutboundClient
from app.outbound.errors import OutboundError
from app.problems import Problem


class WebhookEvent(StrEnum):
    """What a webhook may be told of."""

    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELED = "job.canceled"


class Webhook(BaseModel):
    """Where to send what has become of a job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(max_length=2048, description="An https address on the public internet.")]
    events: Annotated[
        tuple[WebhookEvent, ...], Field(min_length=1, max_length=8, description="What to send; default: all.")
    ] = tuple(WebhookEvent)


def parse_webhook(text: bytes) -> Webhook:
    """The webhook in a JSON text. Raises `Problem` (`invalid-webhook`)."""
    try:
        return Webhook.model_validate_json(text)
    except ValidationError as error:
        raise Problem.of_validation("invalid-webhook", error, within="webhook") from error


async def check_address(webhook: Webhook, client: OutboundClient) -> None:
    """Raise `Problem` (`refused-address`) for an address that nothing will be sent to."""
    try:
        await client.check_soon(webhook.url, tenant_of_request.get())
    except OutboundError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "refused-address", f"webhook.url: {error}") from error
