"""Submissions as JSON documents that name a file: one uploaded before, or one to fetch."""

import json
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import ErrorDetails
from starlette.requests import Request

from app.accounting.reservations import ReservedRoom
from app.datasets.service import DatasetService
from app.http.body import inspect, read_small_body
from app.http.content_digest import IS_SHA256
from app.http.disconnection import while_connected
from app.http.request_threads import in_share
from app.jobs.repository import JobRepository
from app.jobs.submission.deadline import DeadlineSeconds
from app.jobs.submission.labels import Labels
from app.jobs.submission.model import LARGEST_OPTIONS, FindDataset, Submission, file_for, parse_options
from app.jobs.submission.names import JobName
from app.kit.explanations import explain
from app.kit.file_names import name_at_address
from app.kit.problems import Problem
from app.outbound.client import OutboundClient
from app.settings import Settings
from app.storage import ArtifactStore, StoredArtifact
from app.uploads.fetching import FileFetcher
from app.uploads.receiving import FileKind
from app.uploads.service import UploadService
from app.webhooks.webhook import Webhook, check_address
from nern_core.contract.options import EncodeOptions

_LARGEST_DOCUMENT = LARGEST_OPTIONS + 32 * 2**10
Sha256 = Annotated[str, IS_SHA256, Field(description="SHA-256 in hexadecimal digits.")]


class FileSource(BaseModel):
    """A file that was sent to `POST /checkpoints` or uploaded in pieces (`sha256`), or a file to fetch (`url`)."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"anyOf": [{"required": ["sha256"]}, {"required": ["url"]}]}
    )

    sha256: Sha256 | None = None
    url: Annotated[
        str | None,
        Field(
            max_length=2048,
            description="An https address on the public internet or, if the operator has configured an MLflow server, "
            "`models:/NAME/VERSION`, `models:/NAME@ALIAS` or `runs:/RUN/PATH`. With `sha256`, the file must have that "
            "digest.",
        ),
    ] = None

    @model_validator(mode="after")
    def _is_named(self) -> Self:
        if self.sha256 is None and self.url is None:
            raise ValueError("give the `sha256` of a file uploaded before, or the `url` of a file to fetch")
        return self


class JobDocument(BaseModel):
    """JSON document of `POST /jobs`. The options are those of the form."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    example: ClassVar[str] = '{"checkpoint": {"sha256": "…"}, "options": {…}}'

    checkpoint: FileSource
    options: dict[str, JsonValue] = {}
    name: JobName | None = None
    labels: Labels = {}
    webhook: Webhook | None = None
    deadline_seconds: DeadlineSeconds | None = None

    @property
    def file(self) -> FileSource:
        """The file to process."""
        return self.checkpoint


class ReconstructionDocument(BaseModel):
    """JSON document of `POST /reconstructions`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    example: ClassVar[str] = '{"encoding": {"sha256": "…"}}'

    encoding: FileSource
    name: JobName | None = None
    labels: Labels = {}
    webhook: Webhook | None = None
    deadline_seconds: DeadlineSeconds | None = None

    @property
    def file(self) -> FileSource:
        """The file to process."""
        return self.encoding


Document = JobDocument | ReconstructionDocument


class DocumentReceiver:
    """Reads documents and finds or fetches the files that they name."""

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
        self._fetcher = FileFetcher(settings, store, outbound)

    async def receive(self, request: Request, model: type[Document], tenant: str, room: ReservedRoom) -> Submission:
        """Read the body and find or fetch its file; a fetched file counts in `room`.

        Raises `Problem` and `DiskFull`.
        """
        body = await read_small_body(request, _LARGEST_DOCUMENT)
        find_dataset = partial(self._datasets.resolve, tenant)
        document, options, dataset = await in_share(self._parse, body, model, find_dataset)
        if document.webhook is not None:
            await check_address(document.webhook, self._outbound)
        source, kind = document.file, file_for(options)
        if source.url is None:
            file, file_name, result_bytes = await inspect(self._find, tenant, source, kind)
        else:
            file_name = name_at_address(source.url)
            fetching = self._fetcher.fetch(source.url, source.sha256, kind, room)
            file, result_bytes = await while_connected(request, fetching)
        seconds = document.deadline_seconds
        deadline = None if seconds is None else timedelta(seconds=seconds)
        return Submission(
            file,
            options,
            name=document.name,
            file_name=file_name,
            labels=document.labels,
            webhook=document.webhook,
            deadline=deadline,
            dataset=dataset,
            result_bytes=result_bytes,
        )

    def _parse(
        self, body: bytes, model: type[Document], find_dataset: FindDataset
    ) -> tuple[Document, EncodeOptions | None, StoredArtifact | None]:
        try:
            document = model.model_validate_json(body)
        except ValidationError as error:
            raise _invalid(error, model.example) from error
        if isinstance(document, ReconstructionDocument):
            return document, None, None
        return document, *parse_options(json.dumps(document.options).encode(), find_dataset)

    def _find(self, tenant: str, source: FileSource, kind: FileKind) -> tuple[StoredArtifact, str | None, int]:
        sha256 = str(source.sha256)
        found, name = self._uploads.use(
            tenant, sha256, lambda session: JobRepository(session).checkpoint_bytes(tenant, sha256)
        )
        with self._store.open(found.sha256) as file:
            return found, name, kind.check(file)


def _invalid(error: ValidationError, example: str) -> Problem:
    return Problem.of_validation("invalid-job", error, f"The document is invalid; send {example}. Errors: ", _explain)


def _explain(detail: ErrorDetails) -> str:
    return explain(detail) if detail["loc"] else f"body: {explain(detail)}"


def document_schema(model: type[Document]) -> dict[str, Any]:
    """Return the document's schema for OpenAPI, where options have their own schema."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    source = schema.pop("$defs")["FileSource"]
    properties = schema["properties"]
    properties |= {name: source for name in ("checkpoint", "encoding") if name in properties}
    properties["webhook"] = {"$ref": "#/components/schemas/Webhook"}
    if "options" in properties:
        properties["options"] = {"$ref": "#/components/schemas/EncodeOptions"}
    return schema
