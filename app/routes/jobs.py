"""Submit, follow and cancel jobs."""

from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response, Security
from pydantic import TypeAdapter
from starlette.responses import RedirectResponse

from app.access.caller import Caller, Scope
from app.accounting.reservations import ReservedRoom
from app.http.accept import prefers_html
from app.http.artifact_writers import waiting
from app.http.body import declared_length, in_turn, is_json
from app.http.disconnection import while_connected
from app.http.middleware.body_limits import accept_upload
from app.http.problem_answers import describe
from app.http.request_threads import TenantRoute, in_share
from app.http.whole_numbers import WholeNumber
from app.jobs.idempotency import parse_key
from app.jobs.kinds import JobKind
from app.jobs.models import JobStatus
from app.jobs.schemas import JobPage, JobView
from app.jobs.service import TenantJobs
from app.jobs.submission.deadline import DeadlineSeconds
from app.jobs.submission.document import Document, JobDocument, document_schema
from app.jobs.submission.form import FORM_OVERHEAD, JOB_FORM, Form, receive_submission
from app.jobs.submission.labels import Labels, parse_wanted
from app.jobs.submission.model import Submission
from app.jobs.submission.names import JobName
from app.jobs.waiting import LONGEST_WAIT, WaitFor, preferred_wait, wait_for_job
from app.routes.authentication import authenticate, watched_key
from app.routes.parameters import Cursor, JobId
from app.services import RequestServices, Services


def jobs_router(prefix: str = "/jobs") -> APIRouter:
    """Create a router for jobs, with the errors that all its routes may answer."""
    return APIRouter(
        route_class=TenantRoute,
        prefix=prefix,
        tags=["jobs"],
        responses=describe(
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.FORBIDDEN,
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    )


router = jobs_router()
_SECONDS_BETWEEN_POLLS = "2"
# Optional parts of every submission form.
COMMON_PARTS: dict[str, Any] = {
    "name": TypeAdapter(JobName).json_schema(),
    "labels": TypeAdapter(Labels).json_schema(),
    "webhook": {"$ref": "#/components/schemas/Webhook"},
    "deadline_seconds": TypeAdapter(DeadlineSeconds).json_schema(),
}
_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["checkpoint"],
    "properties": {
        "checkpoint": {
            "type": "string",
            "format": "binary",
            "description": "A .safetensors, .pt, .pth, .th or .onnx file.",
        },
        "options": {"$ref": "#/components/schemas/EncodeOptions"},
        **COMMON_PARTS,
    },
}
_JSON_PART = {"contentType": "application/json"}


def submission_body(form: dict[str, Any], document: type[Document]) -> dict[str, Any]:
    """Return the request body of a submission for OpenAPI: a form or a document."""
    parts = [name for name in form["properties"] if name in {"options", "labels", "webhook"}]
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form, "encoding": dict.fromkeys(parts, _JSON_PART)},
                "application/json": {"schema": document_schema(document)},
            },
        }
    }


async def _jobs(services: RequestServices, caller: Annotated[Caller, Depends(authenticate)]) -> TenantJobs:
    # A coroutine, because FastAPI sends plain functions to a thread.
    return services.jobs.of(caller.tenant)


# The jobs of the caller, whose key must have the scope to read or to write.
Jobs = Annotated[TenantJobs, Security(_jobs, scopes=[Scope.READ])]
WritableJobs = Annotated[TenantJobs, Security(_jobs, scopes=[Scope.WRITE])]


IdempotencyKey = Annotated[
    str | None, Header(description="A key of your choice, in quotes: a repeated request creates no second job.")
]
# Arguments of all routes that take a submission.
SUBMISSION: dict[str, Any] = {
    "status_code": HTTPStatus.ACCEPTED,
    "dependencies": [Depends(accept_upload)],
    "responses": describe(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.INSUFFICIENT_STORAGE,
    ),
}


@router.post(
    "",
    summary="Submit a checkpoint",
    operation_id="submit_job",
    openapi_extra=submission_body(_FORM, JobDocument),
    **SUBMISSION,
)
async def submit_job(
    request: Request,
    response: Response,
    services: RequestServices,
    jobs: WritableJobs,
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Queue a job that encodes a checkpoint, which is in the form or named by a JSON document.

    The job and its file are durable when the answer arrives.
    """
    return await take_submission(request, response, services, jobs, idempotency_key, JOB_FORM, JobDocument)


async def take_submission(
    request: Request,
    response: Response,
    services: Services,
    jobs: TenantJobs,
    idempotency_key: str | None,
    form: Form,
    document: type[Document],
) -> JobView:
    """Receive a form or a document and queue its job. Raises `Problem`, `DiskFull`."""
    traceparent = getattr(request.state, "traceparent", None)
    draft = await in_turn(jobs.begin, parse_key(idempotency_key), traceparent)
    async with draft.holding_its_key():
        allowance = await in_share(jobs.admit, draft)
        declared = 0 if is_json(request) else declared_length(request)
        async with services.reservations.open(
            draft.tenant, declared, overhead=FORM_OVERHEAD, allowance=allowance
        ) as room:
            submission = await _receive(request, services, draft.tenant, form, document, room)
            job = await waiting(services.store, jobs.submit, draft, submission, room)
    response.headers["Location"] = job.links.self
    response.headers["Retry-After"] = _SECONDS_BETWEEN_POLLS
    return job


async def _receive(
    request: Request, services: Services, tenant: str, form: Form, document: type[Document], room: ReservedRoom
) -> Submission:
    if is_json(request):
        # Fetching a file may take minutes.
        async with watched_key(request).interrupting():
            return await services.documents.receive(request, document, tenant, room)
    find_dataset = partial(services.datasets.resolve, tenant)
    return await receive_submission(
        request, form, services.store, services.settings, services.outbound, find_dataset, room
    )


@router.get("", summary="List jobs", operation_id="list_jobs", responses=describe(HTTPStatus.UNPROCESSABLE_ENTITY))
def list_jobs(
    jobs: Jobs,
    status: Annotated[
        tuple[JobStatus, ...],
        Query(max_length=len(JobStatus), description="Only jobs with this status; several mean any of them."),
    ] = (),
    kind: Annotated[JobKind | None, Query(description="Only jobs of this kind.")] = None,
    label: Annotated[
        tuple[str, ...],
        Query(max_length=16, description="Only jobs with this label, `key=value`; several mean all of them."),
    ] = (),
    cursor: Cursor = None,
    limit: Annotated[WholeNumber, Query(ge=1, le=100, description="Jobs per page.")] = 20,
) -> JobPage:
    """List jobs in pages, newest first."""
    return jobs.page(status=status, kind=kind, labels=parse_wanted(label), cursor=cursor, limit=limit)


@router.get(
    "/{job_id}",
    summary="Follow a job",
    operation_id="get_job",
    response_model=JobView,
    responses=describe(HTTPStatus.NOT_FOUND)
    | {303: {"description": "Redirect to the job's page, for clients that prefer `text/html`."}},
)
async def get_job(
    job_id: JobId,
    request: Request,
    response: Response,
    services: RequestServices,
    jobs: Jobs,
    prefer: Annotated[
        str | None,
        Header(
            description=f"`wait=N`: answer when the status has changed, at the latest after N seconds, up to "
            f"{LONGEST_WAIT}. `wait=N; for=end`: answer when the job has ended."
        ),
    ] = None,
    wait_for: Annotated[
        WaitFor | None,
        Query(
            description=f"`end`: answer when the job has ended. `change`: answer when its status has changed. At the "
            f"latest after {LONGEST_WAIT} seconds, or those of `Prefer: wait=N`."
        ),
    ] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> JobView | Response:
    """Status, progress, metrics and results. Until the job has ended, `Retry-After` is the polling interval."""
    if prefers_html(accept):
        return RedirectResponse(f"/view/{job_id}", HTTPStatus.SEE_OTHER, headers={"Vary": "Accept"})
    response.headers["Vary"] = "Accept"
    wait = preferred_wait(prefer, wait_for)
    async with watched_key(request).interrupting():
        waiting_for_job = wait_for_job(lambda: jobs.look(job_id), wait, services.listeners, services.events)
        job, waited = await (while_connected(request, waiting_for_job) if wait.seconds else waiting_for_job)
    if waited:
        response.headers["Preference-Applied"] = wait.applied
    if not job.ended:
        response.headers["Retry-After"] = _SECONDS_BETWEEN_POLLS
    return job


@router.post(
    "/{job_id}/cancel",
    status_code=HTTPStatus.ACCEPTED,
    summary="Cancel a job",
    operation_id="cancel_job",
    responses=describe(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def cancel_job(job_id: JobId, response: Response, jobs: WritableJobs) -> JobView:
    """Cancel a job: a queued job at once; a running one is `canceling` until its worker has stopped."""
    job = jobs.cancel(job_id)
    response.headers["Location"] = job.links.self
    return job


@router.delete(
    "/{job_id}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    summary="Delete a job",
    operation_id="delete_job",
    responses=describe(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def delete_job(job_id: JobId, jobs: WritableJobs) -> None:
    """Delete a job that has ended; its files are removed soon after, unless another job needs them."""
    jobs.delete(job_id)
