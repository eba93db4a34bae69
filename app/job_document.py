"""A submission as a JSON document that names a checkpoint: one sent before, or one to fetch."""

import json
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from app.body import read_small_body
from app.datasets.service import DatasetService
from app.jobs.labels import Labels
from app.outbound.client import OutboundClient
from app.problems import FieldProblem, Problem
from app.settings import Settings
from app.storage import ArtifactStore, StoredArtifact
from app.submission import LARGEST_OPTIONS, FindDataset, Submission, parse_options, refuse_unfit
from app.uploads.fetching import CheckpointFetcher
from app.uploads.service import UploadService
from app.webhooks.webhook import Webhook, check_address
from nern_core.options import EncodeOptions

_LARGEST_DOCUMENT = LARGEST_OPTIONS + 32 * 2**10
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 in hexadecimal digits.")]


class CheckpointSource(BaseModel):
    """A checkpoint that was sent to `POST /checkpoints` or uploaded piece by piece; or, with `url`, one to fetch."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"anyOf": [{"required": ["sha256"]}, {"required": ["url"]}]}
    )

    sha256: Sha256 | None = None
    url: Annotated[
        str | None,
        Field(
            max_length=2048,
            description="An https address on the public internet. With `sha256` the file must have that digest.",
        ),
    ] = None

    @model_validator(mode="after")
    def _is_named(self) -> Self:
        if self.sha256 is None and self.url is None:
            raise ValueError("give the `sha256` of a checkpoint that was sent before, or the `url` of one to fetch")
        return self


class JobDocument(BaseModel):
    """What `POST /jobs` takes as JSON. The options are those of the form."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: CheckpointSource
    options: dict[str, JsonValue] = {}
    labels: Labels = {}
    webhook: Webhook | None = None


class DocumentReceiver:
    """Reads documents and finds or fetches their checkpoints."""

    def __init__(
        self,
        settings: Settings,
        store: ArtifactStore,
        uploads: UploadService,
        datasets: DatasetService,
        outbound: OutboundClient,
    ) -> None:
        self._store = store
        self._uploads = uploads
        self._datasets = datasets
        self._outbound = outbound
        self._fetcher = CheckpointFetcher(settings, store, outbound)

    async def receive(self, request: Request, tenant: str, go_on: Callable[[], None]) -> Submission:
        """Read the body, calling `go_on` now and then while a checkpoint is fetched. Raises `Problem`, `DiskFull`."""
        body = await read_small_body(request, _LARGEST_DOCUMENT)
        find_dataset = partial(self._datasets.resolve, tenant)
        document, options, dataset = await run_in_threadpool(self._parse, body, find_dataset)
        source = document.checkpoint
        if source.url is None:
            checkpoint = await run_in_threadpool(self._find, tenant, source, options)
        else:
            checkpoint = await self._fetcher.fetch(
                source.url, source.sha256, lambda path: refuse_unfit(path, options), go_on
            )
        return Submission(checkpoint, options, document.labels, document.webhook, dataset)

    def _parse(
        self, body: bytes, find_dataset: FindDataset
    ) -> tuple[JobDocument, EncodeOptions, StoredArtifact | None]:
        try:
            document = JobDocument.model_validate_json(body)
        except ValidationError as error:
            raise _invalid(error) from error
        if document.webhook is not None:
            check_address(document.webhook, self._outbound)
        return document, *parse_options(json.dumps(document.options).encode(), find_dataset)

    def _find(self, tenant: str, source: CheckpointSource, options: EncodeOptions) -> StoredArtifact:
        checkpoint = self._uploads.use(tenant, str(source.sha256))
        refuse_unfit(self._store.path(checkpoint.sha256), options)
        return checkpoint


def _invalid(error: ValidationError) -> Problem:
    fields = [
        FieldProblem(field=".".join(map(str, detail["loc"])), detail=detail["msg"].removeprefix("Value error, "))
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
    schema["properties"]["checkpoint"] = definitions["CheckpointSource"]
    schema["properties"]["webhook"] = {"$ref": "#/components/schemas/Webhook"}
    schema["properties"]["options"] = {"$ref": "#/components/schemas/EncodeOptions"}
    return schema
