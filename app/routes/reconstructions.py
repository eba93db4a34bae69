"""Reconstruct the weights of `.nern` files, as jobs."""

from typing import Any

from fastapi import Request, Response

from app.jobs.schemas import JobView
from app.jobs.submission.document import ReconstructionDocument
from app.jobs.submission.form import RECONSTRUCTION_FORM
from app.routes.jobs import (
    COMMON_PARTS,
    SUBMISSION,
    IdempotencyKey,
    WritableJobs,
    jobs_router,
    submission_body,
    take_submission,
)
from app.services import RequestServices

router = jobs_router("/reconstructions")
_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["encoding"],
    "properties": {
        "encoding": {"type": "string", "format": "binary", "description": "A .nern file."},
        **COMMON_PARTS,
    },
}


@router.post(
    "",
    summary="Submit a .nern file",
    operation_id="submit_reconstruction",
    openapi_extra=submission_body(_FORM, ReconstructionDocument),
    **SUBMISSION,
)
async def submit_reconstruction(
    request: Request,
    response: Response,
    services: RequestServices,
    jobs: WritableJobs,
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Queue a job that reconstructs the weights of a `.nern` file, which is in the form or named by a JSON document.

    Follow, cancel and delete it at `/jobs/{id}`; its weights are at `/jobs/{id}/weights`.
    """
    return await take_submission(
        request, response, services, jobs, idempotency_key, RECONSTRUCTION_FORM, ReconstructionDocument
    )
