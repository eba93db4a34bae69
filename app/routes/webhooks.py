"""Webhooks: signing secrets and deliveries."""

from http import HTTPStatus

from fastapi import APIRouter

from app.http.problem_answers import describe
from app.http.request_threads import TenantRoute
from app.jobs.deliveries.service import DeliveryList
from app.routes.authentication import Tenant, WritingTenant
from app.routes.jobs import Jobs
from app.routes.parameters import JobId
from app.services import RequestServices
from app.webhooks.service import SecretView

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


@router.get(
    "/jobs/{job_id}/deliveries",
    summary="List the deliveries of a job's webhook",
    operation_id="list_deliveries",
    responses=describe(HTTPStatus.NOT_FOUND),
)
def list_deliveries(job_id: JobId, jobs: Jobs, tenant: Tenant, services: RequestServices) -> DeliveryList:
    """Deliveries of the job's webhook, with all attempts and the time of the next one."""
    jobs.get(job_id)
    return services.deliveries.of_job(tenant, job_id)


@router.get("/webhooks/secret", summary="Get the signing secret of webhooks", operation_id="get_webhook_secret")
def get_secret(tenant: WritingTenant, services: RequestServices) -> SecretView:
    """Signing secret of the webhooks of all your jobs, by Standard Webhooks. The first request creates it."""
    return services.webhooks.secret(tenant)


@router.post(
    "/webhooks/secret/rotate", summary="Rotate the signing secret of webhooks", operation_id="rotate_webhook_secret"
)
def rotate_secret(tenant: WritingTenant, services: RequestServices) -> SecretView:
    """Create a new secret. For a day, webhooks also carry a signature of the previous one."""
    return services.webhooks.rotate(tenant)
