"""Metrics for Prometheus."""

import hmac
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.http.problem_answers import describe
from app.kit.problems import Problem
from app.metrics.service import MEDIA_TYPE
from app.services import RequestServices

router = APIRouter(tags=["health"])
_bearer = HTTPBearer(auto_error=False, scheme_name="Metrics token", description="The operator's NERN_METRICS_TOKEN.")


def _authorize(
    services: RequestServices, bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    settings = services.settings
    if not settings.metrics_token and not settings.keys_required:
        return
    given = "" if bearer is None else bearer.credentials
    is_good = hmac.compare_digest(given.encode(), settings.metrics_token.encode())
    if not settings.metrics_token or not is_good:
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "invalid-metrics-token",
            "Send the operator's NERN_METRICS_TOKEN in the header `Authorization: Bearer …`; API keys do not give "
            "access to metrics, and without such a token metrics are disabled.",
            headers={"WWW-Authenticate": "Bearer"},
        )


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    operation_id="get_metrics",
    dependencies=[Depends(_authorize)],
    response_class=Response,
    responses={HTTPStatus.OK: {"content": {"text/plain": {}}}} | describe(HTTPStatus.UNAUTHORIZED),
)
def get_metrics(services: RequestServices) -> Response:
    """Requests of this process and jobs of all processes, in Prometheus' text format."""
    return Response(services.metrics.text(), media_type=MEDIA_TYPE)
