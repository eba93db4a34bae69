"""Deadlines of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade."""
    op.add_column("jobs", sa.Column("deadline_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Downgrade."""
    op.drop_column("jobs", "deadline_at")
