import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from nern_cli.main import main
from tests.nern_client.conftest import listening
from tests.nern_client.wire import Wire, wire_to

Run = Callable[..., int]


@pytest.fixture
def wire(embedded: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """The service set in the environment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NERN_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    with listening(embedded) as port, wire_to(port) as wire:
        monkeypatch.setenv("NERN_URL", wire.url)
        yield wire


@pytest.fixture
def nern(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in this process, beside the service; return its exit status."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["nern", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run
