"""Upload checkpoints in pieces: the protocol tus 1.0.0 with its extensions creation, expiration, termination."""

import base64
import binascii
import re
from collections.abc import Callable, Coroutine, Mapping
from email.utils import format_datetime
from http import HTTPStatus
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.http.body import inspect, read_body
from app.http.middleware.body_limits import accept_upload
from app.http.problem_answers import describe, disk_full, store_unavailable
from app.http.request_threads import TenantRoute
from app.http.whole_numbers import WholeNumber
from app.kit.durable_files import DiskFull
from app.kit.file_names import name_of_file
from app.kit.problems import FieldProblem, Problem
from app.routes.authentication import Tenant, WritingTenant
from app.routes.parameters import UploadId
from app.services import RequestServices
from app.storage import StoreUnavailable
from app.uploads.models import PartialUpload
from app.uploads.partial import PartialUploads

_log = structlog.get_logger()
_VERSION = "1.0.0"
_MEDIA_TYPE = "application/offset+octet-stream"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary", "description": "The next bytes."}}},
    }
}


class _TusRoute(TenantRoute):
    """Route that adds the protocol version to every response."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, which adds the version."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                response = await handler(request)
            except Problem as problem:
                response = problem.response()
            except DiskFull:
                response = disk_full().response()
            except StoreUnavailable as error:
                _log.error("storage_unavailable", method=request.method, path=request.url.path, error=repr(error))
                response = store_unavailable().response()
            response.headers["Tus-Resumable"] = _VERSION
            return response

        return handle


router = APIRouter(
    prefix="/uploads",
    tags=["checkpoints"],
    route_class=_TusRoute,
    responses=describe(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS),
)


def _partial_uploads(request: Request, services: RequestServices) -> PartialUploads:
    """Dependency of all routes, after the tenant. Refuses other versions of the protocol."""
    if request.headers.get("tus-resumable") != _VERSION:
        raise _other_version()
    return services.partial_uploads


Uploads = Annotated[PartialUploads, Depends(_partial_uploads)]
Size = Annotated[WholeNumber, Header(ge=0, le=2**62)]
TusVersion = Annotated[str | None, Header(alias="Tus-Resumable", json_schema_extra={"const": _VERSION})]


@router.options(
    "",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    summary="Describe uploads in pieces",
    operation_id="describe_uploads",
)
def describe_uploads(services: RequestServices, response: Response, tenant: Tenant) -> None:
    """Version and extensions of the protocol, and the maximum size of a checkpoint."""
    response.headers["Tus-Version"] = _VERSION
    response.headers["Tus-Extension"] = "creation,expiration,termination"
    response.headers["Tus-Max-Size"] = str(int(services.settings.max_upload_bytes))


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    response_class=Response,
    summary="Start an upload in pieces",
    operation_id="begin_upload",
    responses=describe(
        HTTPStatus.PRECONDITION_FAILED,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INSUFFICIENT_STORAGE,
    ),
)
def begin_upload(
    response: Response,
    tenant: WritingTenant,
    uploads: Uploads,
    upload_length: Annotated[WholeNumber, Header(ge=1, le=2**62, description="Size of the whole checkpoint in bytes.")],
    upload_metadata: Annotated[
        str,
        Header(
            max_length=4000,
            description="`sha256`, a space, and the checkpoint's hexadecimal SHA-256 in base64; also `filename`, a "
            "space, and the file's name in base64, the default name of its jobs.",
        ),
    ],
    tus_resumable: TusVersion = None,
) -> None:
    """Create an upload; send the bytes to the address in `Location`."""
    pairs = dict((pair.strip().partition(" ")[::2]) for pair in upload_metadata.split(","))
    upload = uploads.begin(tenant, upload_length, _digest_in(pairs), _name_in(pairs))
    response.headers["Location"] = f"/uploads/{upload.id}"
    _tell_expiry(response, upload)


@router.head(
    "/{upload_id}",
    response_class=Response,
    summary="Get the offset of an upload",
    operation_id="get_upload_offset",
    responses=describe(
        HTTPStatus.NOT_FOUND,
        HTTPStatus.PRECONDITION_FAILED,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
def get_upload_offset(
    upload_id: UploadId, response: Response, tenant: Tenant, uploads: Uploads, tus_resumable: TusVersion = None
) -> None:
    """Get the number of received bytes (`Upload-Offset`) and of all bytes (`Upload-Length`)."""
    upload = uploads.find(tenant, upload_id)
    response.headers["Upload-Length"] = str(upload.length)
    response.headers["Cache-Control"] = "no-store"
    _tell_offset(response, upload)


@router.patch(
    "/{upload_id}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    summary="Continue an upload",
    operation_id="continue_upload",
    dependencies=[Depends(accept_upload)],
    openapi_extra=_BODY,
    responses=describe(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.PRECONDITION_FAILED,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.LOCKED,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.INSUFFICIENT_STORAGE,
    ),
)
async def continue_upload(
    request: Request,
    upload_id: UploadId,
    response: Response,
    tenant: WritingTenant,
    uploads: Uploads,
    upload_offset: Size,
    tus_resumable: TusVersion = None,
) -> None:
    """Append the body at the offset. After the last byte, the checkpoint is checked and jobs can use it."""
    if request.headers.get("content-type") != _MEDIA_TYPE:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not-a-piece", f"Send the bytes with Content-Type: {_MEDIA_TYPE}."
        )
    appender = await run_in_threadpool(uploads.append, tenant, upload_id, upload_offset)
    try:
        await read_body(request, appender.write)
        upload = await inspect(appender.end)
    except ClientDisconnect:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "upload-cut-off",
            "The upload was interrupted; get the offset with HEAD, and resume there.",
        ) from None
    finally:
        await run_in_threadpool(appender.close)
    _tell_offset(response, upload)


@router.delete(
    "/{upload_id}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    summary="Delete an upload",
    operation_id="give_up_upload",
    responses=describe(
        HTTPStatus.NOT_FOUND,
        HTTPStatus.LOCKED,
        HTTPStatus.PRECONDITION_FAILED,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
def give_up_upload(
    upload_id: UploadId, tenant: WritingTenant, uploads: Uploads, tus_resumable: TusVersion = None
) -> None:
    """Delete an upload and its bytes. A finished checkpoint stays; use `DELETE /checkpoints/{sha256}` for that."""
    uploads.give_up(tenant, upload_id)


def _tell_offset(response: Response, upload: PartialUpload) -> None:
    response.headers["Upload-Offset"] = str(upload.received)
    _tell_expiry(response, upload)


def _tell_expiry(response: Response, upload: PartialUpload) -> None:
    response.headers["Upload-Expires"] = format_datetime(upload.expires_at, usegmt=True)


def _name_in(pairs: Mapping[str, str]) -> str | None:
    """Return the value of `filename` as a name."""
    try:
        return name_of_file(base64.b64decode(pairs.get("filename", ""), validate=True).decode("utf-8", "replace"))
    except binascii.Error:
        return None


def _digest_in(pairs: Mapping[str, str]) -> str:
    """Return the value of `sha256`. Raises `Problem` (`missing-digest`)."""
    try:
        digest = base64.b64decode(pairs.get("sha256", ""), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        digest = ""
    if not _SHA256.fullmatch(digest):
        detail = "Upload-Metadata has no `sha256`: send the SHA-256 of the whole file, 64 hexadecimal digits in base64."
        fields = [FieldProblem(field="upload-metadata", detail=detail)]
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "missing-digest", detail, errors=fields)
    return digest


def _other_version() -> Problem:
    return Problem(
        HTTPStatus.PRECONDITION_FAILED,
        "other-tus-version",
        f"This is tus {_VERSION}; send the header Tus-Resumable: {_VERSION}.",
        headers={"Tus-Version": _VERSION},
    )
