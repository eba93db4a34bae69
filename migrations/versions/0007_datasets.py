"""Uploaded data sets, and their use by jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade."""
    op.create_table(
        "datasets",
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("splits", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", name="datasets_pkey"),
    )
    op.create_index("datasets_sha256_idx", "datasets", ["sha256"])
    op.add_column("jobs", sa.Column("dataset_sha256", sa.String(64)))


def downgrade() -> None:
    """Downgrade."""
    op.drop_column("jobs", "dataset_sha256")
    op.drop_table("datasets")
