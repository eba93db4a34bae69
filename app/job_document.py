"""A submission as a JSON document that names a checkpoint sent before."""

import json
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from app.body import read_small_body
from app.jobs.labels import Labels
from app.problems import FieldProblem, Problem
from app.settings import Settings
from app.storage import ArtifactStore
from app.submission import LARGEST_OPTIONS, Submission, parse_options, refuse_unfit
from app.uploads.service import UploadService
from app.webhooks.webhook import Webhook

_LARGEST_DOCUMENT = LARGEST_OPTIONS + 32 * 2**10
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 in hexadecimal digits.")]


class NamedCheckpoint(BaseModel):
    """A checkpoint that was sent to `POST /checkpoints` or uploaded piece by piece."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Sha256


class JobDocument(BaseModel):
    """What `POST /jobs` takes as JSON. The options are those of the form."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: NamedCheckpoint
    options: dict[str, JsonValue] = {}
    labels: Labels = {}
    webhook: Webhook | None = None


async def receive_document(
    request: Request, tenant: str, uploads: UploadService, store: ArtifactStore, settings: Settings
) -> Submission:
    """Read the document and find its checkpoint. Raises `Problem`."""
    try:
        body = await read_small_body(request, _LARGEST_DOCUMENT)
    except ClientDisconnect:
        raise Problem(HTTPStatus.BAD_REQUEST, "request-cut-off", "The request was cut off; send it again.") from None
    return await run_in_threadpool(_resolve, body, tenant, uploads, store, settings)


def _resolve(body: bytes, tenant: str, uploads: UploadService, store: ArtifactStore, settings: Settings) -> Submission:
    try:
        document = JobDocument.model_validate_json(body)
    except ValidationError as error:
        raise _invalid(error) from error
    options = parse_options(json.dumps(document.options).encode(), settings)
    checkpoint = uploads.use(tenant, document.checkpoint.sha256)
    refuse_unfit(store.path(checkpoint.sha256), options)
    return Submission(checkpoint, options, document.labels, document.webhook)


def _invalid(error: ValidationError) -> Problem:
    fields = [
        FieldProblem(field=".".join(map(str, detail["loc"])), detail=detail["msg"])
        for detail in error.errors(include_url=False)
    ]
    found = "; ".join(f"{field.field or 'body'}: {field.detail}" for field in fields)
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid-job",
        f'Send {{"checkpoint": {{"sha256": "…"}}, "options": {{…}}}}. What was sent does not fit: {found}.',
        errors=fields,
    )


def document_schema() -> dict[str, Any]:
    """The document for the description of the API, in which options have a schema of their own."""
    schema = JobDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions = schema.pop("$defs")
    schema["properties"]["checkpoint"] = definitions["NamedCheckpoint"]
    schema["properties"]["webhook"] = {"$ref": "#/components/schemas/Webhook"}
    schema["properties"]["options"] = {"$ref": "#/components/schemas/EncodeOptions"}
    return schema
