import json
from pathlib import Path
from typing import Any

import pytest

from app.access.token import Token
from app.db.schema import migrate
from app.settings import Settings
from tests.nern_cli.test_main import nern


@pytest.fixture(autouse=True)
def database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty database with the schema."""
    monkeypatch.setenv("NERN_DATA_DIR", str(tmp_path))
    migrate(Settings())


def create(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str) -> Token:
    """Create a key with the command."""
    capsys.readouterr()
    assert nern(monkeypatch, "keys", "create", *options) == 0
    token = Token.parse(capsys.readouterr().out.removesuffix("\n"))
    assert token is not None
    return token


def listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert nern(monkeypatch, "keys", "list", "--json") == 0
    keys: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["keys"]
    return keys


def test_create_prints_the_key_alone_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nern(monkeypatch, "keys", "create", "--tenant", "acme") == 0
    printed = capsys.readouterr()
    token = Token.parse(printed.out.removesuffix("\n"))
    assert token is not None
    assert f"Its id is {token.key_id}." in printed.err
    assert token.secret not in printed.err


def test_list_shows_what_a_key_is_for_and_not_its_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    token = create(monkeypatch, capsys, "--tenant", "acme", "--read-only", "--days", "1", "--description", "dashboard")
    (key,) = listed(monkeypatch, capsys)
    assert key["expires"] > key["created"]
    assert {name: key[name] for name in ("id", "tenant", "scopes", "description", "last_used", "state")} == {
        "id": token.key_id,
        "tenant": "acme",
        "scopes": "jobs:read",
        "description": "dashboard",
        "last_used": None,
        "state": "good",
    }
    assert nern(monkeypatch, "keys", "list") == 0
    table = capsys.readouterr().out
    assert "acme" in table
    assert token.secret not in table


@pytest.mark.parametrize("columns", ["20", "80"])
def test_a_narrow_terminal_shows_whole_ids(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str
) -> None:
    token = create(monkeypatch, capsys, "--tenant", "acme", "--description", "a long description of what it is for")
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert nern(monkeypatch, "keys", "list") == 0
    table = capsys.readouterr().out
    assert token.key_id in table
    assert "…" not in table


def test_a_pipe_gets_a_line_of_columns_for_each_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    token = create(monkeypatch, capsys, "--tenant", "acme", "--description", "the\tdashboard")
    assert nern(monkeypatch, "keys", "list") == 0
    cells = capsys.readouterr().out.removesuffix("\n").split("\t")
    assert cells[:4] == [token.key_id, "acme", "jobs:read jobs:write", "the\\tdashboard"]
    assert cells[5:] == ["", "", "good"]


def test_a_key_is_good_for_everything_and_for_ever_unless_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create(monkeypatch, capsys, "--tenant", "acme")
    (key,) = listed(monkeypatch, capsys)
    assert key["scopes"] == "jobs:read jobs:write"
    assert key["expires"] is None


def test_revoke_ends_a_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    token = create(monkeypatch, capsys, "--tenant", "acme")
    assert nern(monkeypatch, "keys", "revoke", token.key_id) == 0
    assert [key["state"] for key in listed(monkeypatch, capsys)] == ["revoked"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["revoke", "0123456789abcdef"], "There is no API key '0123456789abcdef'"),
        (["create", "--tenant", "Acme Inc."], "lowercase letters, digits and dashes"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert nern(monkeypatch, "keys", *arguments) == 1
    assert sentence in capsys.readouterr().err


def test_a_database_without_tables_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("NERN_DATA_DIR", str(tmp_path / "elsewhere"))
    assert nern(monkeypatch, "keys", "list") == 1
    assert "run `nern migrate` first" in capsys.readouterr().err


def test_a_database_that_is_down_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NERN_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    assert nern(monkeypatch, "keys", "list") == 1
    assert "check NERN_DATABASE_URL" in capsys.readouterr().err
