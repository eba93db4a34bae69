"""Queries on API keys. Times are the database's; callers own the transaction."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.access.caller import Scope
from app.access.models import ApiKey
from app.access.token import Token
from app.db.transactions import current_time, rows_changed


class ApiKeyRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def now(self) -> datetime:
        """Return the time of the database's clock."""
        return current_time(self._session)

    def add(
        self, token: Token, *, tenant: str, scopes: Sequence[Scope], description: str, lifetime: timedelta | None
    ) -> ApiKey:
        """Insert a key that is valid at once, for `lifetime` or without expiry."""
        now = self.now()
        key = ApiKey(
            id=token.key_id,
            tenant=tenant,
            description=description,
            scopes=[scope.value for scope in scopes],
            secret_sha256=token.digest(),
            created_at=now,
            expires_at=None if lifetime is None else now + lifetime,
        )
        self._session.add(key)
        self._session.flush()
        return key

    def get(self, key_id: str) -> ApiKey | None:
        """Find a key."""
        return self._session.get(ApiKey, key_id)

    def find(self, key_ids: Collection[str]) -> Sequence[ApiKey]:
        """Return those of the keys that exist."""
        return self._session.scalars(select(ApiKey).where(ApiKey.id.in_(key_ids))).all()

    def all(self) -> Sequence[ApiKey]:
        """Return all keys, by tenant, oldest first."""
        return self._session.scalars(select(ApiKey).order_by(ApiKey.tenant, ApiKey.created_at, ApiKey.id)).all()

    def revoke(self, key_id: str) -> bool:
        """Revoke a key. False: the key does not exist, or was revoked before."""
        good = update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
        return rows_changed(self._session, good.values(revoked_at=self.now())) == 1
