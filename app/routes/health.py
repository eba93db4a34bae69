"""Liveness and readiness of the service."""

from http import HTTPStatus
from typing import Literal

import structlog
from fastapi import APIRouter
from pydantic import BaseModel

from app.http.problem_answers import describe
from app.kit.problems import Problem
from app.services import RequestServices

router = APIRouter(tags=["health"])
_log = structlog.get_logger()


class Health(BaseModel):
    """Answer of a healthy service."""

    status: Literal["ok"] = "ok"


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Check liveness", operation_id="livez")
async def livez() -> Health:
    """Answer without checking anything else."""
    return Health()


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    summary="Check readiness",
    operation_id="readyz",
    responses=describe(HTTPStatus.SERVICE_UNAVAILABLE),
)
def readyz(services: RequestServices) -> Health:
    """Check the database and the artifact store. The broker is not checked, because jobs are accepted without it."""
    try:
        services.jobs.check()
    except Exception as error:
        _log.warning("not_ready", error=repr(error))
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "not-ready",
            "The database or the artifact store cannot be reached; try again soon.",
            headers={"Retry-After": "5"},
        ) from error
    return Health()
