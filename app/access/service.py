"""Operations on API keys; each method is one unit of work."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from http import HTTPStatus

from sqlalchemy.orm import Session

from app.access.caller import Caller, Scope
from app.access.models import ApiKey
from app.access.repository import ApiKeyRepository
from app.access.token import Token
from app.db.stored_documents import read_list
from app.db.transactions import Sessions, transact
from app.kit.problems import Problem
from nern_core.contract.errors import NernError

_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
# `last_used_at` only helps people to find unused keys, so one write per hour is enough.
_BETWEEN_MARKS = timedelta(hours=1)


class ApiKeyService:
    """Creates, lists, revokes and authenticates API keys."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def create(
        self, tenant: str, scopes: Sequence[Scope], *, description: str = "", lifetime: timedelta | None = None
    ) -> Token:
        """Create a key, which cannot be shown again. Raises `NernError` (`bad_tenant`)."""
        if not _TENANT.fullmatch(tenant):
            raise NernError(
                "bad_tenant",
                "The name of a tenant may have up to 64 lowercase letters, digits and dashes; choose another name.",
            )
        token = Token.new()
        with self._sessions.begin() as session:
            ApiKeyRepository(session).add(
                token, tenant=tenant, scopes=scopes, description=description, lifetime=lifetime
            )
        return token

    def all(self) -> Sequence[ApiKey]:
        """Return all keys, including revoked and expired ones."""
        return transact(self._sessions, lambda session: ApiKeyRepository(session).all())

    def revoke(self, key_id: str) -> None:
        """Revoke a key, within a second everywhere; a repeat is a no-op. Raises `NernError` (`unknown_key`)."""

        def revoke(session: Session) -> None:
            repository = ApiKeyRepository(session)
            if not repository.revoke(key_id) and repository.get(key_id) is None:
                raise NernError("unknown_key", f"There is no API key '{key_id}'; `nern keys list` shows all of them.")

        transact(self._sessions, revoke)

    def authenticate(self, text: str) -> Caller:
        """Return the holder of a key. Raises `Problem` (`invalid-key`, `revoked-key`, `expired-key`)."""
        (found,) = self.authenticate_all([read_token(text)])
        if isinstance(found, Problem):
            raise found
        return found

    def authenticate_all(self, tokens: Sequence[Token]) -> Sequence[Caller | Problem]:
        """Return the holder of each key, or the reason why it is refused, in one query."""

        def find(session: Session) -> Sequence[Caller | Problem]:
            repository = ApiKeyRepository(session)
            found = {key.id: key for key in repository.find({token.key_id for token in tokens})}
            now = repository.now()
            return [_holder(token, found.get(token.key_id), now) for token in tokens]

        return transact(self._sessions, find)


def read_token(text: str) -> Token:
    """Parse a key as its holder sends it. Raises `Problem` (`invalid-key`)."""
    token = Token.parse(text)
    if token is None:
        raise _refusal("invalid-key", "This is not an API key of this service; keys look like nern_<id>_<secret>.")
    return token


def _holder(token: Token, key: ApiKey | None, now: datetime) -> Caller | Problem:
    if key is None or not token.has_digest(key.secret_sha256):
        return _refusal("invalid-key", "There is no such API key; check that the whole key was sent.")
    if key.revoked_at is not None:
        return _refusal("revoked-key", "This API key was revoked; ask the operator for another one.")
    if key.expires_at is not None and key.expires_at <= now:
        return _refusal("expired-key", "This API key has expired; ask the operator for another one.")
    if key.last_used_at is None or now - key.last_used_at >= _BETWEEN_MARKS:
        key.last_used_at = now
    # Another release may know more scopes.
    scopes = read_list(key.scopes)
    return Caller(key.tenant, frozenset(scope for scope in Scope if scope in scopes), key.id)


def _refusal(slug: str, sentence: str) -> Problem:
    return Problem(
        HTTPStatus.UNAUTHORIZED, slug, sentence, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}
    )
