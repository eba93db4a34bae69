from datetime import timedelta
from typing import cast

import pytest
import sqlalchemy

from app.access.caller import Caller, Scope
from app.access.models import ApiKey
from app.access.service import ApiKeyService
from app.access.token import Token
from app.db.engine import create_sessions
from app.db.transactions import Sessions
from app.kit.problems import Problem
from app.settings import Settings
from nern_core.contract.errors import NernError
from tests.app.forgetful_sessions import ForgetfulSessions
from tests.conftest import transaction

BOTH = (Scope.READ, Scope.WRITE)


def refusal(keys: ApiKeyService, text: str) -> str:
    """Return the slug of the refusal of a key."""
    with pytest.raises(Problem) as refused:
        keys.authenticate(text)
    assert refused.value.details.status == 401
    assert refused.value.headers == {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    return refused.value.details.type


def test_a_key_tells_its_tenant_and_its_scopes(keys: ApiKeyService) -> None:
    token = keys.create("acme", [Scope.READ])
    assert keys.authenticate(token.reveal()) == Caller("acme", frozenset({Scope.READ}), token.key_id)


def test_a_key_with_another_secret_is_no_key(keys: ApiKeyService) -> None:
    token = keys.create("acme", BOTH)
    assert refusal(keys, Token(token.key_id, "s" * 43).reveal()) == "invalid-key"


def test_a_key_that_was_never_made_and_a_text_that_is_none_are_no_keys(keys: ApiKeyService) -> None:
    assert refusal(keys, Token.new().reveal()) == "invalid-key"
    assert refusal(keys, "password") == "invalid-key"


def test_a_revoked_key_is_refused(keys: ApiKeyService) -> None:
    token = keys.create("acme", BOTH)
    keys.revoke(token.key_id)
    assert refusal(keys, token.reveal()) == "revoked-key"


def test_keys_are_known_listed_and_revoked_though_the_connection_is_lost(
    keys: ApiKeyService, with_keys: Settings
) -> None:
    token = keys.create("acme", BOTH)
    sessions = create_sessions(with_keys)
    forgetful = ForgetfulSessions(sessions)
    service = ApiKeyService(cast("Sessions", forgetful))
    assert service.authenticate(token.reveal()).tenant == "acme"
    assert [key.id for key in service.all()] == [token.key_id]
    service.revoke(token.key_id)
    assert forgetful.lost == 3
    assert refusal(keys, token.reveal()) == "revoked-key"
    sessions.kw["bind"].dispose()


def test_keys_that_are_shown_together_are_told_apart(keys: ApiKeyService) -> None:
    good, revoked = keys.create("acme", BOTH), keys.create("acme", BOTH)
    keys.revoke(revoked.key_id)
    answers = keys.authenticate_all([good, Token(good.key_id, "s" * 43), revoked, good, Token.new()])
    caller = Caller("acme", frozenset(BOTH), good.key_id)
    assert [answer.details.type if isinstance(answer, Problem) else answer for answer in answers] == [
        caller,
        "invalid-key",
        "revoked-key",
        caller,
        "invalid-key",
    ]


def test_revoking_again_changes_nothing(keys: ApiKeyService) -> None:
    token = keys.create("acme", BOTH)
    keys.revoke(token.key_id)
    (before,) = keys.all()
    keys.revoke(token.key_id)
    (after,) = keys.all()
    assert before.revoked_at == after.revoked_at is not None


def test_an_expired_key_is_refused(keys: ApiKeyService) -> None:
    fresh = keys.create("acme", BOTH, lifetime=timedelta(hours=1))
    stale = keys.create("acme", BOTH, lifetime=timedelta(0))
    keys.authenticate(fresh.reveal())
    assert refusal(keys, stale.reveal()) == "expired-key"


def test_revoking_a_key_that_is_not_there_says_where_to_look(keys: ApiKeyService) -> None:
    with pytest.raises(NernError, match="`nern keys list` shows all of them"):
        keys.revoke("0" * 16)


@pytest.mark.parametrize("tenant", ["", "Acme", "a b", "-a", "a/b", "a" * 65, "ä", "a\n"])
def test_a_tenant_has_a_plain_name(keys: ApiKeyService, tenant: str) -> None:
    with pytest.raises(NernError, match="lowercase letters, digits and dashes"):
        keys.create(tenant, BOTH)


def test_a_key_remembers_when_it_was_used_to_the_hour(keys: ApiKeyService, with_keys: Settings) -> None:
    token = keys.create("acme", BOTH)
    assert [key.last_used_at for key in keys.all()] == [None]
    keys.authenticate(token.reveal())
    (first,) = keys.all()
    assert first.last_used_at is not None
    keys.authenticate(token.reveal())
    (soon,) = keys.all()
    assert soon.last_used_at == first.last_used_at
    with transaction(with_keys) as session:
        session.get_one(ApiKey, token.key_id).last_used_at = first.last_used_at - timedelta(hours=1)
    keys.authenticate(token.reveal())
    (later,) = keys.all()
    assert later.last_used_at is not None
    assert later.last_used_at >= first.last_used_at


def test_the_database_does_not_hold_the_secret(keys: ApiKeyService, with_keys: Settings) -> None:
    token = keys.create("acme", BOTH, description="for tests")
    with transaction(with_keys) as session:
        (row,) = session.execute(sqlalchemy.text("SELECT * FROM api_keys")).all()
    stored = " ".join(map(str, row))
    assert token.secret not in stored
    assert token.digest() in stored
