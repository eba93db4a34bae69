"""Workers that cannot work."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade."""
    op.create_table(
        "unfit_workers",
        sa.Column("worker", sa.String(255), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("worker", name="unfit_workers_pkey"),
    )


def downgrade() -> None:
    """Downgrade."""
    op.drop_table("unfit_workers")
