"""Upload checkpoints separately, for use by jobs."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response

from app.http.artifact_writers import waiting
from app.http.body import declared_length
from app.http.content_digest import ContentDigest
from app.http.middleware.body_limits import accept_upload
from app.http.problem_answers import describe
from app.http.request_threads import TenantRoute
from app.kit.file_names import name_in_disposition
from app.routes.authentication import Tenant, WritingTenant
from app.routes.parameters import Sha256
from app.services import RequestServices
from app.uploads.receiving import CHECKPOINT, receive_file
from app.uploads.service import UploadView

router = APIRouter(
    route_class=TenantRoute,
    prefix="/checkpoints",
    tags=["checkpoints"],
    responses=describe(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS),
)
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "A .safetensors, .pt, .pth, .th or .onnx file.",
                }
            }
        },
    }
}


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Upload a checkpoint",
    operation_id="upload_checkpoint",
    dependencies=[Depends(accept_upload)],
    openapi_extra=_BODY,
    responses=describe(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.INSUFFICIENT_STORAGE,
    ),
)
async def upload_checkpoint(
    request: Request,
    response: Response,
    tenant: WritingTenant,
    services: RequestServices,
    content_digest: ContentDigest = None,
    content_disposition: Annotated[
        str | None,
        Header(description='`attachment; filename="model.safetensors"`: the default name of jobs on this checkpoint.'),
    ] = None,
) -> UploadView:
    """Store the body, a checkpoint file. `POST /jobs` accepts its `sha256` in a JSON document."""
    async with services.reservations.open(tenant, declared_length(request)) as room:
        stored = await receive_file(request, CHECKPOINT, content_digest, services.store, services.settings, room)
        view = await waiting(
            services.store, services.uploads.add, tenant, stored, room, name_in_disposition(content_disposition)
        )
    response.headers["Location"] = f"/checkpoints/{view.sha256}"
    return view


@router.get(
    "/{sha256}",
    summary="Find a checkpoint",
    operation_id="get_checkpoint",
    responses=describe(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
)
def get_checkpoint(sha256: Sha256, tenant: Tenant, services: RequestServices) -> UploadView:
    """Check whether a checkpoint is already stored, and when it expires."""
    return services.uploads.get(tenant, sha256)


@router.delete(
    "/{sha256}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    summary="Delete a checkpoint",
    operation_id="delete_checkpoint",
    responses=describe(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
)
def delete_checkpoint(sha256: Sha256, tenant: WritingTenant, services: RequestServices) -> None:
    """Delete a checkpoint. Jobs that use it keep it; the file is removed soon after the last of them."""
    services.uploads.delete(tenant, sha256)
