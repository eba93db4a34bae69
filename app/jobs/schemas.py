"""The API's representation of jobs."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from app.db.stored_documents import read_document, read_or_keep
from app.db.times import later
from app.jobs.kinds import JobKind
from app.jobs.models import NOT_UNDERSTOOD, TERMINAL, Job, JobStatus
from app.webhooks.webhook import Webhook
from nern_core.contract.metrics import Metrics
from nern_core.contract.options import EncodeOptions

# A document of another release that this one does not understand.
Stored = dict[str, Any]
_SENTENCES: Mapping[str, str] = {
    JobStatus.QUEUED: "The job waits for a worker.",
    JobStatus.RUNNING: "A worker is encoding the checkpoint.",
    JobStatus.CANCELING: "The job is being stopped.",
    JobStatus.SUCCEEDED: "The results can be downloaded.",
    JobStatus.CANCELED: "The job was canceled.",
}


class FileView(BaseModel):
    """A job's input file."""

    bytes: int
    sha256: str


class ProgressView(BaseModel):
    """Progress of a job. `step` and `total` count within the phase; `fraction` is that of the whole job.

    `total` is an estimate if the budget is in seconds. A phase can end before it.
    """

    fraction: Annotated[float, Field(ge=0, le=1)]
    step: int
    total: int | None
    loss: float | None
    steps_per_second: float | None
    kernels_per_second: Annotated[
        float | None, Field(description="Kernels predicted per second, in phases that predict kernels.")
    ] = None
    seconds_left: float | None


class ErrorView(BaseModel):
    """Reason of a failure. `code` is a stable slug for programs, `message` a sentence for people."""

    code: str
    message: str


class ArtifactView(BaseModel):
    """One result: its size in bytes, SHA-256 and address."""

    bytes: int
    sha256: str
    url: str


class JobLinks(BaseModel):
    """Addresses related to a job."""

    self: str
    page: Annotated[str, Field(description="The job's web page.")]
    cancel: str
    events: str


class JobView(BaseModel):
    """A job."""

    id: str
    name: Annotated[str | None, Field(description="Name for people; by default the name of the file.")]
    kind: JobKind | SkipJsonSchema[str]
    status: JobStatus | SkipJsonSchema[str]
    message: Annotated[str, Field(description="One sentence about the current state.")]
    phase: str | None
    progress: Annotated[
        ProgressView | None,
        Field(description="Progress of the job, or where it failed or was canceled; null after success."),
    ]
    options: Annotated[EncodeOptions | SkipJsonSchema[Stored] | None, Field(description="Options of an encoding.")]
    labels: Annotated[dict[str, str], Field(description="Labels of the job.")]
    webhook: Annotated[Webhook | SkipJsonSchema[Stored] | None, Field(description="Webhook for the job's end.")]
    checkpoint: Annotated[FileView | None, Field(description="Input of an encoding.")]
    encoding: Annotated[FileView | None, Field(description="Input of a reconstruction.")]
    dataset_sha256: Annotated[str | None, Field(description="SHA-256 of the uploaded data set that the job uses.")]
    attempt: Annotated[int, Field(description="Number of times that a worker has started this job.")]
    metrics: Metrics | SkipJsonSchema[Stored] | None
    error: ErrorView | None
    artifacts: Annotated[dict[str, ArtifactView], Field(description="The results by name, once the job has succeeded.")]
    created_at: datetime
    deadline_at: Annotated[datetime | None, Field(description="Time at which the job fails if it has not ended.")]
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: Annotated[datetime | None, Field(description="Time at which the job's files are removed.")]
    data_removed: Annotated[bool, Field(description="Whether the job's files were removed.")]
    links: JobLinks

    @classmethod
    def of(cls, job: Job, keep_results: timedelta) -> Self:
        """Return the view of a row, whose files expire `keep_results` after its end."""
        failed = job.error_code is not None and job.error_message is not None
        encodes = job.kind == JobKind.ENCODING
        file = FileView(bytes=job.checkpoint_bytes, sha256=job.checkpoint_sha256)
        address = f"/jobs/{job.id}"
        return cls(
            id=job.id,
            name=job.name,
            kind=job.kind,
            status=job.status,
            message=job.error_message if failed and job.error_message else _sentence(job),
            phase=job.phase,
            progress=None if job.status == JobStatus.SUCCEEDED else read_document(ProgressView, job.progress),
            options=read_or_keep(EncodeOptions, job.options) if encodes else None,
            labels={key: value for key, value in (job.labels or {}).items() if isinstance(value, str)},
            webhook=read_or_keep(Webhook, job.webhook),
            checkpoint=file if encodes else None,
            encoding=None if encodes else file,
            dataset_sha256=job.dataset_sha256,
            attempt=job.attempt,
            metrics=read_or_keep(Metrics, job.metrics),
            error=ErrorView(code=job.error_code or "", message=job.error_message or "") if failed else None,
            artifacts={} if job.data_removed else _artifacts(job.artifacts or {}, address),
            created_at=job.created_at,
            deadline_at=job.deadline_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            expires_at=None if job.finished_at is None else later(job.finished_at, keep_results),
            data_removed=job.data_removed,
            links=JobLinks(
                self=address, page=f"/view/{job.id}", cancel=f"{address}/cancel", events=f"{address}/events"
            ),
        )

    @property
    def known_options(self) -> EncodeOptions | None:
        """Options of an encoding; None if they are of another release and not understood."""
        return self.options if isinstance(self.options, EncodeOptions) else None

    @property
    def known_metrics(self) -> Metrics | None:
        """Metrics; None if they are of another release and not understood."""
        return self.metrics if isinstance(self.metrics, Metrics) else None

    @property
    def ended(self) -> bool:
        """True if the status is final."""
        return self.status in TERMINAL


def _artifacts(stored: Mapping[str, Any], address: str) -> dict[str, ArtifactView]:
    """Return the results of a job at this address; names that only another release knows get the generic address."""
    objects = {name: artifact for name, artifact in stored.items() if isinstance(artifact, Mapping)}
    urls = {name: address + ARTIFACT_ADDRESSES.get(name, f"/artifacts/{name}") for name in objects}
    found = {name: read_document(ArtifactView, {**artifact, "url": urls[name]}) for name, artifact in objects.items()}
    return {name: view for name, view in found.items() if view is not None}


def _sentence(job: Job) -> str:
    if job.status == JobStatus.QUEUED and job.phase == NOT_UNDERSTOOD:
        return "The job waits for a worker of a newer release that understands its options."
    if job.kind == JobKind.RECONSTRUCTION and job.status == JobStatus.RUNNING:
        return "A worker is reconstructing the weights."
    return _SENTENCES.get(job.status, f"The job is {job.status}.")


class JobPage(BaseModel):
    """A page of jobs, newest first. `next_cursor` leads to older ones; null on the last page."""

    items: list[JobView]
    next_cursor: str | None


# Addresses of the artifacts, relative to that of the job.
ARTIFACT_ADDRESSES = {
    "weights.safetensors": "/weights?format=safetensors",
    "weights.pt": "/weights?format=pt",
    "weights.onnx": "/weights?format=onnx",
    "encoding.nern": "/encoding",
    "report.json": "/report",
    "report.html": "/report?format=html",
    "importance.json": "/importance",
    "importance.safetensors": "/importance?format=safetensors",
    "pruning-curve.svg": "/importance?format=svg",
}
