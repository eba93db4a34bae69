"""Jobs of more than one kind."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_OF_JOBS = ("artifact_uses", "job_events", "job_labels", "webhook_deliveries")


def upgrade() -> None:
    """Upgrade. Existing jobs, and jobs of processes that do not know kinds yet, are encodings."""
    op.add_column("jobs", sa.Column("kind", sa.String(16), nullable=False, server_default="encoding"))


def downgrade() -> None:
    """Downgrade. Reconstructions are deleted, because without a kind they would be encodings of invalid checkpoints."""
    for table in _OF_JOBS:
        op.execute(f"DELETE FROM {table} WHERE job_id IN (SELECT id FROM jobs WHERE kind <> 'encoding')")  # noqa: S608 # own names
    op.execute("DELETE FROM jobs WHERE kind <> 'encoding'")
    op.drop_column("jobs", "kind")
