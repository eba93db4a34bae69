import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from app.db.engine import create_engine
from app.db.schema import migrate, require_schema
from app.settings import Settings
from nern_core.contract.errors import NernError
from tests.nern_cli.test_main import nern
from tests.service.test_serve import environment

_LATER = "UPDATE alembic_version SET version_num = 'ffffffffffff'"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings from the environment, with a database that does not exist."""
    monkeypatch.setenv("NERN_DATA_DIR", str(tmp_path))
    return Settings()


def execute(settings: Settings, statement: str) -> None:
    engine = create_engine(settings)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.mark.parametrize("command", [["api"], ["keys", "list"], ["keys", "create", "--tenant", "acme"]], ids=" ".join)
def test_a_command_on_a_database_that_is_not_migrated_says_what_to_do(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert nern(monkeypatch, *command) == 1
    error = capsys.readouterr().err
    assert error.startswith("nern: The database schema is at nothing, not at ")
    assert error.endswith("; run `nern migrate` first.\n")
    assert error.count("\n") == 1


def test_a_worker_on_a_database_that_is_not_migrated_says_what_to_do(settings: Settings) -> None:
    command = [sys.executable, "-m", "celery", "-A", "worker.celery_app", "worker", "-Q", "cpu", "-l", "WARNING"]
    variables = environment() | {"NERN_DATA_DIR": str(settings.data_dir)}
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "run `nern migrate` first." in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_a_worker_goes_on_with_the_schema_of_a_later_version(settings: Settings) -> None:
    migrate(settings)
    execute(settings, _LATER)
    require_schema(settings, or_later=True)
    with pytest.raises(NernError, match="which a later version created; use that version"):
        require_schema(settings)


@pytest.mark.parametrize("command", ["migrate", "serve"])
def test_the_schema_of_a_later_version_is_left_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    migrate(settings)
    execute(settings, _LATER)
    options = ["--data-dir", str(settings.data_dir)] if command == "serve" else []
    assert nern(monkeypatch, command, *options) == 1
    assert "which a later version created; use that version." in capsys.readouterr().err


@pytest.mark.parametrize("command", [["migrate"], ["api"], ["keys", "list"]], ids=" ".join)
def test_a_database_that_is_away_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.setenv("NERN_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    assert nern(monkeypatch, *command) == 1
    assert capsys.readouterr().err == "nern: The database cannot be reached; check NERN_DATABASE_URL.\n"
