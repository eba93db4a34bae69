"""The table of jobs."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonObject, UtcDateTime
from app.jobs.kinds import JobKind


class JobStatus(StrEnum):
    """queued → running → (canceling) → succeeded | failed | canceled."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


# Phase of a queued job whose kind or options a worker did not understand.
NOT_UNDERSTOOD = "not_understood"
TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED})


class Job(Base):
    """One encoding or reconstruction that a tenant has requested.

    `attempt` grows with every claim and fences a worker that has lost its lease; `releases` counts the claims that a
    stopping worker gave back, which are not failures. The row is its own outbox: a queued job is announced to the
    broker at `announce_at`, and again after ever longer pauses; `announcements` counts that. `artifacts` maps a name
    to a size and SHA-256; so does `snapshots`, until the job ends. `result_bytes` is the sum of the artifacts' sizes;
    `expected_bytes` is the space they may take, which counts in the quota until the job ends. `dataset_sha256` is set
    if the options name an uploaded data set. A reconstruction has no options, and its checkpoint is a `.nern` file.
    Once `data_removed` is set, the files may be gone. A job that has not ended by `deadline_at` fails.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "tenant", "id"),
        Index(None, "tenant", "status", "id"),
        Index(None, "status", "announce_at"),
        Index(None, "data_removed", "finished_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16), server_default=JobKind.ENCODING.value)
    status: Mapped[str] = mapped_column(String(16))
    device: Mapped[str] = mapped_column(String(8))
    options: Mapped[dict[str, Any] | None] = mapped_column(JsonObject, nullable=False)
    name: Mapped[str | None] = mapped_column(String(200))
    labels: Mapped[dict[str, Any] | None] = mapped_column(JsonObject(none_as_null=True))
    webhook: Mapped[dict[str, Any] | None] = mapped_column(JsonObject(none_as_null=True))
    checkpoint_sha256: Mapped[str] = mapped_column(String(64))
    checkpoint_bytes: Mapped[int] = mapped_column(BigInteger)
    dataset_sha256: Mapped[str | None] = mapped_column(String(64))
    attempt: Mapped[int] = mapped_column(default=0)
    releases: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    announcements: Mapped[int] = mapped_column(default=0)
    announce_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    phase: Mapped[str | None] = mapped_column(String(32))
    progress: Mapped[dict[str, Any] | None] = mapped_column(JsonObject(none_as_null=True))
    snapshots: Mapped[dict[str, Any] | None] = mapped_column(JsonObject(none_as_null=True))
    metrics: Mapped[dict[str, Any] | None] = mapped_column(JsonObject(none_as_null=True))
    result_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    expected_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    artifacts: Mapped[dict[str, Any] | None] = mapped_column(JsonObject(none_as_null=True))
    data_removed: Mapped[bool] = mapped_column(default=False)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    deadline_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class JobLabel(Base):
    """One label of a job. The job's own column is what the API shows; these rows serve searches."""

    __tablename__ = "job_labels"
    __table_args__ = (Index(None, "tenant", "key", "value", "job_id"),)

    job_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    key: Mapped[str] = mapped_column(String(63), primary_key=True)
    value: Mapped[str] = mapped_column(String(255))
    tenant: Mapped[str] = mapped_column(String(64))


class ArtifactUse(Base):
    """A job's use of an artifact: its checkpoint, a result or, until the job ends, its uploaded data set.

    An artifact that no row names may be removed from the store.
    """

    __tablename__ = "artifact_uses"
    __table_args__ = (Index(None, "sha256"),)

    job_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)


class IdempotencyKey(Base):
    """A client's key for a submission, and the job that it stands for.

    Without a `fingerprint` of the request, that request is still arriving, and holds the key until the row expires;
    with one, the job exists.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "expires_at"),)

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(40))
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
