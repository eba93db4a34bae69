import hashlib

import pytest

from app.access.token import Token


def test_a_new_token_is_read_from_the_text_that_its_holder_sends() -> None:
    token = Token.new()
    assert Token.parse(token.reveal()) == token


def test_two_tokens_have_nothing_in_common() -> None:
    first, second = Token.new(), Token.new()
    assert first.key_id != second.key_id
    assert first.secret != second.secret


def test_a_secret_has_256_bits() -> None:
    assert len(Token.new().secret) == 43  # characters of 6 bits


def test_the_digest_is_that_of_the_secret_alone() -> None:
    token = Token("0" * 16, "s" * 43)
    assert token.digest() == hashlib.sha256(b"s" * 43).hexdigest()
    assert token.has_digest(token.digest())
    assert not token.has_digest(Token("0" * 16, "t" * 43).digest())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nern_",
        "nern__" + "s" * 43,
        "nern_0123456789abcde_" + "s" * 43,
        "nern_0123456789ABCDEF_" + "s" * 43,
        "nern_0123456789abcdef_" + "s" * 42,
        "nern_0123456789abcdef_" + "s" * 44,
        "nern_0123456789abcdef_" + "s" * 43 + "\n",
        "other_0123456789abcdef_" + "s" * 43,
    ],
)
def test_other_texts_are_no_tokens(text: str) -> None:
    assert Token.parse(text) is None


def test_a_token_does_not_show_its_secret_by_accident() -> None:
    token = Token.new()
    assert token.secret not in repr(token)
    assert token.secret not in str(token)
