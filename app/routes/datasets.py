"""Upload data sets once, for use by jobs."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.datasets.service import DATASET
from app.datasets.views import DatasetList, DatasetView
from app.http.artifact_writers import waiting
from app.http.body import declared_length, is_json, read_small_body
from app.http.content_digest import IS_SHA256, ContentDigest, parse_content_digest
from app.http.middleware.body_limits import accept_upload
from app.http.problem_answers import describe
from app.http.request_threads import TenantRoute, in_share
from app.kit.problems import Problem
from app.routes.authentication import Tenant, WritingTenant
from app.routes.parameters import DatasetName, NewDatasetName
from app.services import RequestServices
from app.uploads.receiving import receive_file

_LARGEST_DOCUMENT = 1000


class FinishedUpload(BaseModel):
    """A file that was uploaded in pieces, or sent to `POST /checkpoints`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Annotated[str, IS_SHA256, Field(description="SHA-256 in hexadecimal digits.")]


router = APIRouter(
    route_class=TenantRoute,
    prefix="/datasets",
    tags=["datasets"],
    responses=describe(
        HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE
    ),
)
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "A .safetensors file with `train.images` and `test.images`, U8 of shape N x H x W "
                    "x 3 (RGB), and `train.labels` and `test.labels`, I64 of shape N, or without labels. An entry "
                    "`preprocessing` of its metadata may override any of `mean`, `std`, `input_size`, `crop_padding` "
                    "and `horizontal_flip`. Or one with `inputs`, or `inputs.NAME` for each argument of a network, and "
                    "perhaps `labels`, with one row for each example. Or one with `text`, U8 of shape N: the bytes of "
                    "text in UTF-8, with one example on each line.",
                }
            },
            "application/json": {"schema": FinishedUpload.model_json_schema()},
        },
    }
}


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Upload a data set",
    operation_id="upload_dataset",
    dependencies=[Depends(accept_upload)],
    openapi_extra=_BODY,
    responses=describe(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.INSUFFICIENT_STORAGE,
    ),
)
async def upload_dataset(
    request: Request,
    response: Response,
    tenant: WritingTenant,
    services: RequestServices,
    name: NewDatasetName,
    content_digest: ContentDigest = None,
) -> DatasetView:
    """Store the body under a name, until it is deleted. A JSON body names a file that was uploaded before.

    Repeating the same file and name is a no-op.
    """
    datasets = services.datasets
    if is_json(request):
        upload = _parse(await read_small_body(request, _LARGEST_DOCUMENT))
        view = await waiting(services.store, datasets.adopt, tenant, name, upload.sha256)
    else:
        digest = parse_content_digest(content_digest)
        await in_share(datasets.admit, tenant, name, digest)
        async with services.reservations.open(tenant, declared_length(request)) as room:
            stored = await receive_file(request, DATASET, content_digest, services.store, services.settings, room)
            view = await waiting(services.store, datasets.add, tenant, name, stored, room)
    response.headers["Location"] = f"/datasets/{view.name}"
    return view


@router.get("", summary="List data sets", operation_id="list_datasets")
def list_datasets(tenant: Tenant, services: RequestServices) -> DatasetList:
    """Data sets your jobs can use: your own, and those that the operator offers."""
    return services.datasets.all(tenant)


@router.get(
    "/{name}",
    summary="Find a data set",
    operation_id="get_dataset",
    responses=describe(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
)
def get_dataset(name: DatasetName, tenant: Tenant, services: RequestServices) -> DatasetView:
    """Data set that you have uploaded under this name."""
    return services.datasets.get(tenant, name)


@router.delete(
    "/{name}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    summary="Delete a data set",
    operation_id="delete_dataset",
    responses=describe(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
)
def delete_dataset(name: DatasetName, tenant: WritingTenant, services: RequestServices) -> None:
    """Delete a data set. Jobs that use it keep it until they end; the file is removed soon after the last of them."""
    services.datasets.delete(tenant, name)


def _parse(body: bytes) -> FinishedUpload:
    try:
        return FinishedUpload.model_validate_json(body)
    except ValidationError as error:
        opening = 'Send the file itself, or {"sha256": "…"} of a finished upload. What was sent does not fit: '
        raise Problem.of_validation("invalid-dataset", error, opening) from error
