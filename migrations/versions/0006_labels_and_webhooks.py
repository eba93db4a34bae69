"""Labels of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("jobs", sa.Column("labels", sa.JSON))
    op.create_table(
        "job_labels",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("key", sa.String(63), nullable=False),
        sa.Column("value", sa.String(255), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "key", name="job_labels_pkey"),
    )
    op.create_index("job_labels_tenant_key_value_job_id_idx", "job_labels", ["tenant", "key", "value", "job_id"])


def downgrade() -> None:
    """Go back."""
    op.drop_table("job_labels")
    op.drop_column("jobs", "labels")
