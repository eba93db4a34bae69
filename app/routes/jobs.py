"""Submit, follow and cancel jobs, and download their results."""

import base64
from collections.abc import Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response, Security
from fastapi.responses import FileResponse
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from app.access.authentication import authenticate
from app.access.caller import Caller, Scope
from app.body import in_turn
from app.edge.bodies import accept_upload
from app.job_document import DocumentReceiver, document_schema
from app.jobs.idempotency import parse_key
from app.jobs.labels import Labels, parse_wanted
from app.jobs.models import JobStatus
from app.jobs.service import Draft, JobService, TenantJobs
from app.problems import describe
from app.schemas import JobPage, JobView
from app.submission import Submission, receive_submission

router = APIRouter(
    prefix="/jobs",
    tags=["jobs"],
    responses=describe(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
_SECONDS_BETWEEN_POLLS = "2"
_BINARY = "application/octet-stream"
_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["checkpoint"],
    "properties": {
        "checkpoint": {
            "type": "string",
            "format": "binary",
            "description": "A .safetensors, .pt, .pth or .th file.",
        },
        "options": {"$ref": "#/components/schemas/EncodeOptions"},
        "labels": TypeAdapter(Labels).json_schema(),
        "webhook": {"$ref": "#/components/schemas/Webhook"},
    },
}
_JSON_PART = {"contentType": "application/json"}
_SUBMISSION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": _FORM,
                "encoding": {"options": _JSON_PART, "labels": _JSON_PART, "webhook": _JSON_PART},
            },
            "application/json": {"schema": document_schema()},
        },
    }
}


class WeightsFormat(StrEnum):
    """File formats of the reconstructed weights."""

    SAFETENSORS = "safetensors"
    PT = "pt"


class ReportFormat(StrEnum):
    """Forms of the report."""

    JSON = "json"
    HTML = "html"


class ImportanceFormat(StrEnum):
    """Parts of the importance of kernels: the document, all scores, the pruning curve."""

    JSON = "json"
    SAFETENSORS = "safetensors"
    SVG = "svg"


_REPORT_TYPES = {ReportFormat.JSON: "application/json", ReportFormat.HTML: "text/html; charset=utf-8"}
# Name of the artifact, its media type, and the options of a job that has one.
_IMPORTANCE = {
    ImportanceFormat.JSON: ("importance.json", "application/json", ("importance",)),
    ImportanceFormat.SAFETENSORS: ("importance.safetensors", _BINARY, ("importance",)),
    ImportanceFormat.SVG: ("pruning-curve.svg", "image/svg+xml", ("importance", "dataset")),
}
# The page holds names from strangers' files: nothing in it may run or be fetched, whatever it is.
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"


async def _jobs(request: Request, caller: Annotated[Caller, Depends(authenticate)]) -> TenantJobs:
    # A coroutine, because FastAPI sends plain functions to a thread.
    service: JobService = request.app.state.jobs
    return service.of(caller.tenant)


# The jobs of the caller, whose key must be good for reading or for changing them.
Jobs = Annotated[TenantJobs, Security(_jobs, scopes=[Scope.READ])]
WritableJobs = Annotated[TenantJobs, Security(_jobs, scopes=[Scope.WRITE])]
IfNoneMatch = Annotated[str | None, Header(include_in_schema=False)]


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    summary="Submit a checkpoint",
    operation_id="submit_job",
    dependencies=[Depends(accept_upload)],
    openapi_extra=_SUBMISSION,
    responses=describe(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.INSUFFICIENT_STORAGE,
    ),
)
async def submit_job(
    request: Request,
    response: Response,
    jobs: WritableJobs,
    idempotency_key: Annotated[
        str | None,
        Header(description="A key of your own, in quotes: a request that is sent again makes no second job."),
    ] = None,
) -> JobView:
    """Queues a job that encodes a checkpoint: one in the form, or one that a JSON document names.

    The answer comes when everything is on disk.
    """
    draft = await run_in_threadpool(jobs.begin, parse_key(idempotency_key))
    try:
        await run_in_threadpool(jobs.admit, draft)
        job = await in_turn(jobs.submit, draft, await _receive(request, draft))
    except BaseException:
        await run_in_threadpool(draft.give_up)
        raise
    response.headers["Location"] = job.links.self
    response.headers["Retry-After"] = _SECONDS_BETWEEN_POLLS
    return job


async def _receive(request: Request, draft: Draft) -> Submission:
    state = request.app.state
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        documents: DocumentReceiver = state.documents
        return await documents.receive(request, draft.tenant, draft.go_on)
    return await receive_submission(request, state.store, state.settings, state.outbound, draft.go_on)


@router.get("", summary="List jobs", operation_id="list_jobs", responses=describe(HTTPStatus.UNPROCESSABLE_ENTITY))
def list_jobs(
    jobs: Jobs,
    status: Annotated[JobStatus | None, Query(description="Only jobs of this status.")] = None,
    label: Annotated[
        tuple[str, ...],
        Query(max_length=16, description="Only jobs with this label, `key=value`; all if there are several."),
    ] = (),
    cursor: Annotated[str | None, Query(max_length=40, description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs on a page.")] = 20,
) -> JobPage:
    """Newest first, a page at a time."""
    return jobs.page(status=status, labels=parse_wanted(label), cursor=cursor, limit=limit)


@router.get("/{job_id}", summary="Follow a job", operation_id="get_job", responses=describe(HTTPStatus.NOT_FOUND))
async def get_job(job_id: str, response: Response, jobs: Jobs) -> JobView:
    """Status, progress, metrics and results. `Retry-After` says when to look again, until the job has ended."""
    job = await jobs.look(job_id)
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
def cancel_job(job_id: str, response: Response, jobs: WritableJobs) -> JobView:
    """A queued job is canceled at once; a running one is `canceling` until its worker has stopped."""
    job = jobs.cancel(job_id)
    response.headers["Location"] = job.links.self
    return job


@router.delete(
    "/{job_id}",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Delete a job",
    operation_id="delete_job",
    responses=describe(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def delete_job(job_id: str, jobs: WritableJobs) -> None:
    """Forgets a job that has ended; its files are removed soon after, unless another job needs them."""
    jobs.delete(job_id)


class _Download(FileResponse):
    """A file, or one range of it: whoever asks for several gets all of it."""

    max_ranges = 1


_RESULTS: dict[str, Any] = {
    "response_class": FileResponse,
    "responses": describe(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE, HTTPStatus.INTERNAL_SERVER_ERROR),
}


@router.get("/{job_id}/weights", summary="Download the weights", operation_id="get_weights", **_RESULTS)
def get_weights(
    job_id: str,
    jobs: Jobs,
    format: Annotated[WeightsFormat, Query(description="File format.")] = WeightsFormat.SAFETENSORS,  # noqa: A002 # the parameter's public name
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The reconstructed checkpoint: names, shapes and dtypes of the original."""
    return _download(jobs, job_id, f"weights.{format}", _BINARY, if_none_match)


@router.get("/{job_id}/encoding", summary="Download the .nern file", operation_id="get_encoding", **_RESULTS)
def get_encoding(job_id: str, jobs: Jobs, if_none_match: IfNoneMatch = None) -> Response:
    """The neural representation; `nern reconstruct` turns it into the weights."""
    return _download(jobs, job_id, "encoding.nern", _BINARY, if_none_match)


@router.get("/{job_id}/report", summary="Download the report", operation_id="get_report", **_RESULTS)
def get_report(
    job_id: str,
    jobs: Jobs,
    format: Annotated[ReportFormat, Query(description="Figures, or a page to look at.")] = ReportFormat.JSON,  # noqa: A002 # the parameter's public name
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Options, metrics, the error of every layer, other codecs and the training curve; as a page with pictures too."""
    answer = _download(jobs, job_id, f"report.{format}", _REPORT_TYPES[format], if_none_match)
    if format is ReportFormat.HTML:
        _show_inertly(answer)
    return answer


@router.get("/{job_id}/importance", summary="Download the importance", operation_id="get_importance", **_RESULTS)
def get_importance(
    job_id: str,
    jobs: Jobs,
    format: Annotated[ImportanceFormat, Query(description="The ranking, all scores, or the pruning curve.")] = (  # noqa: A002 # the parameter's public name
        ImportanceFormat.JSON
    ),
    if_none_match: IfNoneMatch = None,
) -> Response:
    """How important each kernel and filter is, if the job was asked for it with the option `importance`.

    A job that was not is answered with 404 and the type `not-asked-for`.
    """
    name, media_type, needs = _IMPORTANCE[format]
    answer = _download(jobs, job_id, name, media_type, if_none_match, needs)
    if format is ImportanceFormat.SVG:
        _show_inertly(answer)
    return answer


def _show_inertly(answer: Response) -> None:
    """Let a browser show a document, in which nothing runs."""
    answer.headers["Content-Security-Policy"] = _PAGE_POLICY
    answer.headers["Content-Disposition"] = "inline"


def _download(
    jobs: TenantJobs,
    job_id: str,
    name: str,
    media_type: str,
    if_none_match: str | None,
    needs: Sequence[str] = (),
) -> Response:
    """Send a result with the digest that was published, as its ETag and as RFC 9530's `Repr-Digest`."""
    artifact, path = jobs.artifact(job_id, name, needs)
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    headers = {
        "ETag": f'"{artifact.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Cache-Control": "private, immutable",
    }
    if if_none_match is not None and artifact.sha256 in if_none_match:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return _Download(path, media_type=media_type, filename=f"{job_id}-{name}", headers=headers)
