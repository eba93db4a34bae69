"""Snapshots, from which a running job resumes."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade."""
    op.add_column("jobs", sa.Column("snapshots", sa.JSON))


def downgrade() -> None:
    """Downgrade."""
    op.drop_column("jobs", "snapshots")
