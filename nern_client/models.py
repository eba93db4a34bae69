"""Models of the service's answers. Unknown fields of a newer service are kept."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class JobStatus(StrEnum):
    """queued → running → (canceling) → succeeded | failed | canceled."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


_TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED})


class _Model(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Progress(_Model):
    """Progress of a running job. `step` and `total` refer to the phase, `fraction` to the whole job."""

    fraction: float
    step: int
    total: int | None = None
    loss: float | None = None
    steps_per_second: float | None = None
    kernels_per_second: float | None = None
    seconds_left: float | None = None


class JobError(_Model):
    """The reason why a job failed. `code` is a stable slug for programs, `message` a sentence for people."""

    code: str
    message: str


class Artifact(_Model):
    """One result: size in bytes, SHA-256 and address."""

    bytes: int
    sha256: str
    url: str


class SubmittedFile(_Model):
    """A file that was sent for a job."""

    bytes: int
    sha256: str


class Job(_Model):
    """A job: an `encoding` of a checkpoint, or a `reconstruction` of the weights in an encoding."""

    id: str
    name: str | None = None
    kind: str = "encoding"
    status: JobStatus
    message: str
    phase: str | None = None
    progress: Progress | None = None
    options: Mapping[str, Any] | None = None
    labels: Mapping[str, str] = {}
    checkpoint: SubmittedFile | None = None
    encoding: SubmittedFile | None = None
    dataset_sha256: str | None = None
    attempt: int
    metrics: Mapping[str, Any] | None = None
    error: JobError | None = None
    artifacts: Mapping[str, Artifact]
    created_at: datetime
    deadline_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    data_removed: bool = False

    @property
    def ended(self) -> bool:
        """True if the status is final."""
        return self.status in _TERMINAL


class JobPage(_Model):
    """A page of jobs, newest first. `next_cursor` leads to the older ones."""

    items: tuple[Job, ...]
    next_cursor: str | None = None


class JobEvent(_Model):
    """An event of a job. `kind` is the job's new status, or `progress`."""

    number: int
    kind: str
    time: datetime
    data: Mapping[str, Any]


class EventPage(_Model):
    """A page of events, oldest first. `next_after` leads to later ones; None if there are no later ones yet."""

    items: tuple[JobEvent, ...]
    next_after: int | None = None


class Checkpoint(_Model):
    """A checkpoint that jobs can use by its SHA-256, until it expires. `name` is the default name of those jobs."""

    sha256: str
    bytes: int
    name: str | None = None
    expires_at: datetime


class Split(_Model):
    """One of the two splits of a data set; `shape` is the height, width and channels of an image."""

    bytes: int
    images: int | None = None
    shape: tuple[int, ...] | None = None


class Array(_Model):
    """An array of a data set; the first size of `shape` is the number of examples."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Dataset(_Model):
    """A data set that jobs can use: an uploaded one, or one that the operator offers.

    Those for any network have `arrays`, and no images. Text lines have `text_bytes`.
    """

    name: str
    source: str
    train: Split
    test: Split
    arrays: tuple[Array, ...] | None = None
    text_bytes: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    created_at: datetime | None = None


class DatasetList(_Model):
    """All data sets that jobs can use, sorted by name."""

    items: tuple[Dataset, ...]
