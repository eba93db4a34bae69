import time

import pytest

from nern_cli import process_start
from nern_cli.process_start import started_at


@pytest.mark.parametrize(
    ("age", "started"),
    [(1.5, -1.5), (None, -1.0), (3600.0, -1.0)],
    ids=["loading", "unknown", "another-program-before"],
)
def test_a_command_starts_with_its_process_unless_that_ran_something_else_before(
    monkeypatch: pytest.MonkeyPatch, age: float | None, started: float
) -> None:
    monkeypatch.setattr(process_start, "_age_of_process", lambda: age)
    now = time.perf_counter()
    assert started_at(now - 1.0) - now == pytest.approx(started, abs=0.1)
