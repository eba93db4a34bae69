import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.db.schema import migrate
from app.settings import Settings
from tests.hostile.corpus import corpus
from tests.hostile.forge import HostileFile
from tests.processes import Service

QUICK: dict[str, Any] = {"steps": 1, "hidden_size": 8}
# Twice the 48 MiB counted for a file's structure: each thread's allocator keeps some of the last file's memory.
MOST_GROWTH = 96 * 2**10


@pytest.fixture
def embedded_service(embedded: Settings, tmp_path: Path) -> Iterator[Service]:
    migrate(embedded)
    with ExitStack() as stack:
        yield Service(embedded, stack, tmp_path)


def peak_kibibytes(pid: int) -> int:
    """Return the peak memory of a process since the peak was last reset."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_among_hostile_files_the_api_stays_small_and_good_jobs_succeed(
    embedded_service: Service, tmp_path: Path
) -> None:
    client, canary = embedded_service.client, tmp_path / "canary"
    api, worker = embedded_service.start_api(), embedded_service.start_worker()
    first = client.submit(**QUICK)
    forget_peak(api.pid)
    before = peak_kibibytes(api.pid)
    jobs: dict[str, HostileFile] = {}
    for file in corpus(canary):
        answer = client.http.post(
            "/jobs", files={"checkpoint": (file.name, file.content)}, data={"options": json.dumps(QUICK)}
        )
        if file.api_code is None:
            assert answer.status_code == 202, (file.name, answer.text)
            # One succeeding job for each row is enough.
            if file.code is not None or file.row not in {other.row for other in jobs.values()}:
                jobs[answer.headers["Location"]] = file
            else:
                client.http.post(answer.json()["links"]["cancel"]).raise_for_status()
        else:
            assert (answer.status_code, answer.json()["type"]) == (422, file.api_code.replace("_", "-")), file.name
    assert peak_kibibytes(api.pid) - before <= MOST_GROWTH
    last = client.submit(**QUICK)
    for address, file in jobs.items():
        job = client.ended(address, 300)
        expected = ("succeeded", None) if file.code is None else ("failed", file.code)
        assert (job["status"], (job["error"] or {"code": None})["code"]) == expected, file.name
    assert [client.ended(address)["status"] for address in (first, last)] == ["succeeded", "succeeded"]
    assert (api.poll(), worker.poll()) == (None, None)
    assert not canary.exists()
