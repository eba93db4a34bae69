"""Whether the service lives, and whether it can work."""

from http import HTTPStatus
from typing import Literal

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel

from app.jobs.service import JobService
from app.problems import Problem, describe

router = APIRouter(tags=["health"])
_log = structlog.get_logger()


class Health(BaseModel):
    """The answer of a service that is well."""

    status: Literal["ok"] = "ok"


@router.get("/livez", summary="Whether the process lives", operation_id="livez")
async def livez() -> Health:
    """Answers without looking at anything else."""
    return Health()


@router.get(
    "/readyz",
    summary="Whether requests can be served",
    operation_id="readyz",
    responses=describe(HTTPStatus.SERVICE_UNAVAILABLE),
)
def readyz(request: Request) -> Health:
    """Looks at the database and the artifact store. The broker is not asked: jobs are accepted without it."""
    service: JobService = request.app.state.jobs
    try:
        service.check()
    except Exception as error:
        _log.warning("not_ready", error=repr(error))
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "not-ready",
            "The database or the artifact store cannot be reached; try again soon.",
            headers={"Retry-After": "5"},
        ) from error
    return Health()
