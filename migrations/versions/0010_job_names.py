"""Names of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade."""
    op.add_column("jobs", sa.Column("name", sa.String(200)))


def downgrade() -> None:
    """Downgrade."""
    op.drop_column("jobs", "name")
