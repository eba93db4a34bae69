from pathlib import Path

import pytest

from app.jobs.models import JobStatus
from tests.hostile.corpus import corpus
from tests.hostile.forge import HostileFile
from tests.worker.conftest import Jobs
from worker.supervisor import Supervisor

CANARY = Path(__file__).with_name("canary")


def one_of_each_row() -> list[HostileFile]:
    """Return the first file to be refused in each row of the threat table."""
    found: dict[int, HostileFile] = {}
    for file in corpus(CANARY):
        if file.code is not None:
            found.setdefault(file.row, file)
    return list(found.values())


FIRST, *OTHERS = one_of_each_row()


@pytest.mark.slow
@pytest.mark.parametrize("file", [pytest.param(FIRST, marks=pytest.mark.gate), *OTHERS], ids=lambda file: file.name)
def test_a_hostile_file_that_nobody_has_looked_at_ends_as_a_failed_job(
    file: HostileFile, embedded_jobs: Jobs, tmp_path: Path
) -> None:
    (tmp_path / "checkpoint").write_bytes(file.content)
    job_id = embedded_jobs.submit(tmp_path / "checkpoint", steps=1, hidden_size=8)
    Supervisor(embedded_jobs.settings, embedded_jobs.sessions, embedded_jobs.store, lambda: False).run(job_id)
    job = embedded_jobs.get(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, file.code)
    assert job.error_message is not None
    assert job.error_message.endswith(".")
    assert not CANARY.exists()
