"""A service whose processes a test starts and stops itself, and commands that refuse to start one."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest

from app.db.schema import migrate
from app.settings import Settings
from nern_cli.main import main
from tests.processes import Service

Refusal = Callable[..., str]


@pytest.fixture
def service(settings: Settings, tmp_path: Path) -> Iterator[Service]:
    """A service in both modes, not started yet."""
    migrate(settings)
    with ExitStack() as stack:
        yield Service(settings, stack, tmp_path)


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Run a command of `nern` that must fail and leave no file; return its message."""

    def run(*arguments: str, **variables: str) -> str:
        monkeypatch.setattr(sys, "argv", ["nern", *arguments])
        monkeypatch.chdir(tmp_path)
        with mock.patch.dict(os.environ):
            for name in [name for name in os.environ if name.startswith(("NERN_", "AWS_"))]:
                del os.environ[name]
            os.environ.update(variables)
            with pytest.raises(SystemExit) as ended:
                main()
        assert ended.value.code
        assert list(tmp_path.iterdir()) == []
        return capsys.readouterr().err

    return run
