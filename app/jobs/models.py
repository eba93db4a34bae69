"""The table of jobs."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Index, MetaData, String, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.jobs.kinds import JobKind


class JobStatus(StrEnum):
    """queued → running → (canceling) → succeeded | failed | canceled."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


# Phase of a queued job that a worker has left to those that understand its kind and options.
NOT_UNDERSTOOD = "not_understood"
TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED})


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite itself keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Bring a time to UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Name the zone of a stored time."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class JsonObject(TypeDecorator[dict[str, Any]]):
    """A JSON object; None for what another release has stored in another form."""

    impl = JSON
    cache_ok = True

    def process_result_value(self, value: object, dialect: Dialect) -> dict[str, Any] | None:
        """Keep objects only."""
        return value if isinstance(value, dict) else None


class Base(DeclarativeBase):
    """Base of all tables; constraints are named by one convention, so that migrations can name them too."""

    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "pk": "%(table_name)s_pkey",
        }
    )


class Job(Base):
    """One encoding or reconstruction that a tenant has asked for.

    `attempt` grows with every claim and fences a worker that has lost its lease; `releases` counts the
    claims that a stopping worker gave back, which are no failures. The row is its own outbox: at
    `announce_at` the broker is to be told of the queued job, again and ever more rarely after each of
    its `announcements`. `artifacts` maps a name to its size and SHA-256, and so does `snapshots`, while the job has
    not ended; `result_bytes` is the sum of the artifacts' sizes, and `expected_bytes` what
    they may take, which counts in the quota until the job has ended. `dataset_sha256` is there if the
    data set that the options name is an uploaded one. A reconstruction has no options, and its checkpoint is a `.nern`
    file. Once `data_removed` is set, the files may be gone. A job that has not ended at `deadline_at` fails.
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
    """One label of a job. The job's own column shows them; these rows are there to find it by."""

    __tablename__ = "job_labels"
    __table_args__ = (Index(None, "tenant", "key", "value", "job_id"),)

    job_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    key: Mapped[str] = mapped_column(String(63), primary_key=True)
    value: Mapped[str] = mapped_column(String(255))
    tenant: Mapped[str] = mapped_column(String(64))


class ArtifactUse(Base):
    """A job needs an artifact: its checkpoint, a result, or, until it has ended, its uploaded data set.

    What no row names may be removed from the store.
    """

    __tablename__ = "artifact_uses"
    __table_args__ = (Index(None, "sha256"),)

    job_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)


class IdempotencyKey(Base):
    """A key that a client has given a submission, and the job that it stands for.

    Without a `fingerprint` of the request that request still arrives, and the key is its own until the row
    expires; with one the job is there.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "expires_at"),)

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(40))
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
