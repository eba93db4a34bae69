"""Operations of tenants on their signing secrets; each method is one unit of work."""

from datetime import datetime, timedelta
from typing import Self

from pydantic import BaseModel

from app.db.transactions import Sessions, transact
from app.webhooks.models import WebhookSecret
from app.webhooks.repository import SecretRepository

_OVERLAP = timedelta(days=1)


class SecretView(BaseModel):
    """Signing secret of webhooks. Until `previous_until`, messages also carry the previous secret's signature."""

    secret: str
    previous_until: datetime | None

    @classmethod
    def of(cls, secret: WebhookSecret) -> Self:
        """Return the view of a row."""
        return cls(secret=secret.secret, previous_until=secret.previous_until)


class WebhookService:
    """Signing secrets of webhooks."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def secret(self, tenant: str) -> SecretView:
        """Return the tenant's secret."""
        return transact(self._sessions, lambda session: SecretView.of(SecretRepository(session).secret(tenant)))

    def rotate(self, tenant: str) -> SecretView:
        """Create a new secret; the previous one also signs for a day."""
        return transact(
            self._sessions, lambda session: SecretView.of(SecretRepository(session).rotate(tenant, _OVERLAP))
        )
