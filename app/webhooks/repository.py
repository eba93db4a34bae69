"""Queries on signing secrets. Callers own the transaction."""

from datetime import timedelta

from sqlalchemy.orm import Session

from app.db.transactions import current_time, insert_into
from app.webhooks.models import WebhookSecret
from app.webhooks.signing import new_secret


class SecretRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def secret(self, tenant: str) -> WebhookSecret:
        """Return the secret of the tenant's webhooks; it is created at the first call."""
        self._session.execute(
            insert_into(self._session, WebhookSecret)
            .values(tenant=tenant, secret=new_secret())
            .on_conflict_do_nothing(index_elements=["tenant"])
        )
        return self._session.get_one(WebhookSecret, tenant)

    def signing_secrets(self, tenant: str) -> list[str]:
        """Return all secrets that currently sign, newest first."""
        found = self.secret(tenant)
        if (
            found.previous is None
            or found.previous_until is None
            or found.previous_until <= current_time(self._session)
        ):
            return [found.secret]
        return [found.secret, found.previous]

    def rotate(self, tenant: str, overlap: timedelta) -> WebhookSecret:
        """Create a new secret; the current one also signs during `overlap`."""
        found = self.secret(tenant)
        found.previous, found.previous_until = found.secret, current_time(self._session) + overlap
        found.secret = new_secret()
        self._session.flush()
        return found
