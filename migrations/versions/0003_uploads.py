"""Idempotency keys, uploads, artifact uses and leases."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_TABLES = ("artifact_uses", "idempotency_keys", "uploads", "partial_uploads", "leases")


def upgrade() -> None:
    """Upgrade. Existing jobs use their checkpoints and results."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("data_removed", sa.Boolean, nullable=False, server_default=sa.false()))
        jobs.create_index("jobs_data_removed_finished_at_idx", ["data_removed", "finished_at"])
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("data_removed", server_default=None)
    uses = op.create_table(
        "artifact_uses",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "sha256", name="artifact_uses_pkey"),
    )
    op.create_index("artifact_uses_sha256_idx", "artifact_uses", ["sha256"])
    _create_uploads()
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name="idempotency_keys_pkey"),
    )
    op.create_index("idempotency_keys_expires_at_idx", "idempotency_keys", ["expires_at"])
    op.create_table(
        "leases",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("holder", sa.String(32), nullable=False),
        sa.Column("held_until", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="leases_pkey"),
    )
    _note_uses(uses)


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "sha256", name="uploads_pkey"),
    )
    op.create_index("uploads_sha256_idx", "uploads", ["sha256"])
    op.create_index("uploads_expires_at_idx", "uploads", ["expires_at"])
    op.create_table(
        "partial_uploads",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="partial_uploads_pkey"),
    )
    op.create_index("partial_uploads_tenant_idx", "partial_uploads", ["tenant"])
    op.create_index("partial_uploads_expires_at_idx", "partial_uploads", ["expires_at"])


def _note_uses(uses: sa.Table) -> None:
    jobs = sa.table("jobs", sa.column("id"), sa.column("checkpoint_sha256"), sa.column("artifacts", sa.JSON))
    found = [
        {"job_id": job.id, "sha256": digest}
        for job in op.get_bind().execute(sa.select(jobs))
        for digest in {job.checkpoint_sha256, *(artifact["sha256"] for artifact in (job.artifacts or {}).values())}
    ]
    op.bulk_insert(uses, found)


def downgrade() -> None:
    """Downgrade."""
    for table in reversed(_TABLES):
        op.drop_table(table)
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_index("jobs_data_removed_finished_at_idx")
        jobs.drop_column("data_removed")
