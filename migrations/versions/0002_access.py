"""API keys, and tenants and result sizes of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
# A literal, because a migration must not change with the code.
_DEFAULT_TENANT = "default"


def upgrade() -> None:
    """Upgrade. Existing jobs get the default tenant."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("description", sa.String(200), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("revoked_at", _TIME),
        sa.Column("last_used_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="api_keys_pkey"),
    )
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("tenant", sa.String(64), nullable=False, server_default=_DEFAULT_TENANT))
        jobs.add_column(sa.Column("result_bytes", sa.BigInteger, nullable=False, server_default="0"))
        jobs.create_index("jobs_tenant_id_idx", ["tenant", "id"])
        jobs.drop_index("jobs_status_id_idx")
        jobs.create_index("jobs_tenant_status_id_idx", ["tenant", "status", "id"])
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("tenant", server_default=None)
        jobs.alter_column("result_bytes", server_default=None)
    _add_up_results()


def _add_up_results() -> None:
    jobs = sa.table("jobs", sa.column("id"), sa.column("artifacts", sa.JSON), sa.column("result_bytes"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(jobs.c.id, jobs.c.artifacts).where(jobs.c.artifacts.is_not(None))).all():
        total = sum(artifact["bytes"] for artifact in (row.artifacts or {}).values())
        connection.execute(jobs.update().where(jobs.c.id == row.id).values(result_bytes=total))


def downgrade() -> None:
    """Downgrade."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_index("jobs_tenant_status_id_idx")
        jobs.create_index("jobs_status_id_idx", ["status", "id"])
        jobs.drop_index("jobs_tenant_id_idx")
        jobs.drop_column("tenant")
        jobs.drop_column("result_bytes")
    op.drop_table("api_keys")
