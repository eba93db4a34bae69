"""Labels and webhooks of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Upgrade."""
    op.add_column("jobs", sa.Column("labels", sa.JSON))
    op.add_column("jobs", sa.Column("webhook", sa.JSON))
    op.create_table(
        "job_labels",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("key", sa.String(63), nullable=False),
        sa.Column("value", sa.String(255), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "key", name="job_labels_pkey"),
    )
    op.create_index("job_labels_tenant_key_value_job_id_idx", "job_labels", ["tenant", "key", "value", "job_id"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("log", sa.JSON, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("due_at", _TIME),
        sa.Column("delivered_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="webhook_deliveries_pkey"),
    )
    op.create_index("webhook_deliveries_due_at_idx", "webhook_deliveries", ["due_at"])
    op.create_index("webhook_deliveries_job_id_idx", "webhook_deliveries", ["job_id"])
    op.create_table(
        "webhook_secrets",
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("secret", sa.String(100), nullable=False),
        sa.Column("previous", sa.String(100)),
        sa.Column("previous_until", _TIME),
        sa.PrimaryKeyConstraint("tenant", name="webhook_secrets_pkey"),
    )


def downgrade() -> None:
    """Downgrade."""
    for table in ("webhook_secrets", "webhook_deliveries", "job_labels"):
        op.drop_table(table)
    op.drop_column("jobs", "webhook")
    op.drop_column("jobs", "labels")
