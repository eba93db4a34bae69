"""Reserved, discarded and expected bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade."""
    op.create_table(
        "reservations",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="reservations_pkey"),
    )
    op.create_index("reservations_tenant_idx", "reservations", ["tenant"])
    op.create_index("reservations_expires_at_idx", "reservations", ["expires_at"])
    op.create_table(
        "discarded_files",
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "sha256", name="discarded_files_pkey"),
    )
    op.create_index("discarded_files_sha256_idx", "discarded_files", ["sha256"])
    op.add_column("jobs", sa.Column("expected_bytes", sa.BigInteger, server_default="0", nullable=False))


def downgrade() -> None:
    """Downgrade."""
    op.drop_column("jobs", "expected_bytes")
    op.drop_table("discarded_files")
    op.drop_table("reservations")
