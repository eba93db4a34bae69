"""Webhooks: signing secrets and deliveries."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from app.http.problem_answers import describe
from app.http.request_threads import TenantRoute
from app.routes.authentication import Tenant, WritingTenant
from app.routes.jobs import Jobs
from app.routes.parameters import JobId
from app.webhooks.service import DeliveryList, SecretView, WebhookService

router = APIRouter(
    route_class=TenantRoute,
    tags=["webhooks"],
    responses=describe(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)


def _webhooks(request: Request) -> WebhookService:
    service: WebhookService = request.app.state.webhooks
    return service


Webhooks = Annotated[WebhookService, Depends(_webhooks)]


@router.get(
    "/jobs/{job_id}/deliveries",
    summary="List the deliveries of a job's webhook",
    operation_id="list_deliveries",
    responses=describe(HTTPStatus.NOT_FOUND),
)
def list_deliveries(job_id: JobId, jobs: Jobs, tenant: Tenant, webhooks: Webhooks) -> DeliveryList:
    """Deliveries of the job's webhook, with all attempts and the time of the next one."""
    jobs.get(job_id)
    return webhooks.deliveries(tenant, job_id)


@router.get("/webhooks/secret", summary="Get the signing secret of webhooks", operation_id="get_webhook_secret")
def get_secret(tenant: WritingTenant, webhooks: Webhooks) -> SecretView:
    """Signing secret of the webhooks of all your jobs, by Standard Webhooks. The first request creates it."""
    return webhooks.secret(tenant)


@router.post(
    "/webhooks/secret/rotate", summary="Rotate the signing secret of webhooks", operation_id="rotate_webhook_secret"
)
def rotate_secret(tenant: WritingTenant, webhooks: Webhooks) -> SecretView:
    """Create a new secret. For a day, webhooks also carry a signature of the previous one."""
    return webhooks.rotate(tenant)
