import threading
from pathlib import Path

import anyio
import pytest

from app.settings import Settings
from nern_client import AsyncClient, DigestMismatch, Job, JobCanceled, JobStatus, NotFound, upload
from tests.conftest import EXAMPLE
from tests.nern_client.conftest import QUICK, succeed
from tests.nern_client.wire import Wire, cut_answer, cut_request, damage, lose_answer

NAME = "encoding.nern"
CONTENT = bytes(range(256)) * 2000


def test_it_does_what_the_other_one_does_beside_other_tasks(wire: Wire, served: Settings, tmp_path: Path) -> None:
    async def use() -> None:
        async with AsyncClient(wire.url, retries=QUICK) as client:
            wire.harm("POST /jobs", lose_answer)
            job = await client.jobs.create(EXAMPLE, steps=10)
            told: list[Job] = []
            threading.Timer(0.1, succeed, (served, job.id, {NAME: CONTENT})).start()
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: client.jobs.get(job.id))
                ended = await client.jobs.wait(job.id, on_update=told.append)
            assert [told[0].status, ended.status] == [JobStatus.QUEUED, JobStatus.SUCCEEDED]
            assert [found.id async for found in client.jobs.list()] == [job.id]
            events = [event.kind async for event in client.jobs.events(job.id, follow=True)]
            assert events == ["queued", "running", "succeeded"]
            wire.harm(f"GET /jobs/{job.id}/encoding", cut_answer(1000), cut_answer(70000))
            await client.jobs.download(job.id, NAME, tmp_path / NAME)
            assert (tmp_path / NAME).read_bytes() == CONTENT
            wire.harm(f"GET /jobs/{job.id}/encoding", damage)
            with pytest.raises(DigestMismatch):
                await client.jobs.download(job.id, NAME, tmp_path / "other")
            await client.jobs.delete(job.id)
            with pytest.raises(NotFound):
                await client.jobs.get(job.id)
            other = await client.jobs.create(EXAMPLE)
            await client.jobs.cancel(other.id)
            with pytest.raises(JobCanceled):
                await client.jobs.wait(other.id)

    anyio.run(use)


def test_it_sends_large_checkpoints_in_pieces(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "LARGEST_IN_ONE_PIECE", 1000)

    async def use() -> None:
        async with AsyncClient(wire.url, retries=QUICK) as client:
            wire.harm("PATCH", cut_request(1000), lose_answer)
            found = await client.checkpoints.upload(EXAMPLE)
            assert found.bytes == EXAMPLE.stat().st_size

    anyio.run(use)
    assert wire.seen.count("POST /uploads") == 1
