"""Names of the files of uploads."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("uploads", sa.Column("name", sa.String(200)))
    op.add_column("partial_uploads", sa.Column("name", sa.String(200)))


def downgrade() -> None:
    """Go back."""
    op.drop_column("partial_uploads", "name")
    op.drop_column("uploads", "name")
