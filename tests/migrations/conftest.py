from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from tests.databases import postgres_database


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Settings with an empty database of either kind."""
    if request.param == "sqlite":
        yield Settings(data_dir=tmp_path / "data")
        return
    with postgres_database() as url:
        yield Settings(data_dir=tmp_path / "data", database_url=url)
