from datetime import timedelta
from pathlib import Path

import pytest

from app.settings import Settings
from tests.conftest import ROOT


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    assert [name for name in Settings.model_fields if f"| `NERN_{name.upper()}` |" not in text] == []


def test_the_environment_is_read_as_it_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERN_DATASET_ROOTS", "/data:/more")
    monkeypatch.setenv("NERN_MAX_UPLOAD_BYTES", "8GiB")
    monkeypatch.setenv("NERN_LEASE", "45")
    found = Settings()
    assert found.dataset_roots == (Path("/data"), Path("/more"))
    assert found.max_upload_bytes == 8 * 2**30
    assert found.lease == timedelta(seconds=45)


def test_the_defaults_are_one_folder_and_no_servers() -> None:
    found = Settings(data_dir=Path("here"))
    assert found.embedded
    assert (found.database, found.artifacts, found.scratch) == (
        "sqlite:///here/nern.db",
        Path("here/artifacts"),
        Path("here/scratch"),
    )


@pytest.mark.parametrize("server", [{"database_url": "postgresql+psycopg://h/d"}, {"broker_url": "redis://h"}])
def test_any_server_ends_the_embedded_mode(server: dict[str, str]) -> None:
    assert not Settings(**server).embedded  # type: ignore[arg-type] # fields are given by name


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(Settings(database_url="postgresql://u:secret@h/d", broker_url="redis://:secret@h"))
