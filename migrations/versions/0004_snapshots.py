"""The snapshots that a running job goes on from."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("jobs", sa.Column("snapshots", sa.JSON))


def downgrade() -> None:
    """Go back."""
    op.drop_column("jobs", "snapshots")
