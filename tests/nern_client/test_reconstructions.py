import hashlib
from pathlib import Path

import anyio
import pytest

from app.settings import Settings
from nern_client import AsyncClient, Client, InvalidRequest, JobStatus
from tests.conftest import EXAMPLE, ROOT
from tests.nern_client.conftest import QUICK, succeed
from tests.nern_client.wire import Wire, lose_answer

ENCODING = ROOT / "tests" / "golden" / "quantized-v4.nern"
SHA256 = hashlib.sha256(ENCODING.read_bytes()).hexdigest()


def test_an_encoding_is_sent_waited_for_and_its_weights_downloaded(
    client: Client, wire: Wire, served: Settings, tmp_path: Path
) -> None:
    wire.harm("POST /reconstructions", lose_answer)
    job = client.reconstructions.create(ENCODING, labels={"team": "vision"}, deadline_seconds=3600)
    assert job.deadline_at is not None
    assert (job.kind, job.status, job.options, job.checkpoint) == ("reconstruction", JobStatus.QUEUED, None, None)
    assert job.encoding is not None
    assert job.encoding.sha256 == SHA256
    assert [found.id for found in client.jobs.list(kind="reconstruction", labels={"team": "vision"})] == [job.id]
    assert list(client.jobs.list(kind="encoding")) == []
    succeed(served, job.id, {"weights.pt": b"weights"})
    assert client.jobs.wait(job.id).status is JobStatus.SUCCEEDED
    assert client.jobs.download(job.id, "weights.pt", tmp_path / "w.pt").read_bytes() == b"weights"
    assert wire.seen[:3] == [f"GET /checkpoints/{SHA256}", "POST /checkpoints", "POST /reconstructions"]


def test_one_key_makes_one_job(client: Client) -> None:
    first, again = (client.reconstructions.create(ENCODING, idempotency_key="mine") for _ in range(2))
    assert first.id == again.id


def test_what_is_no_encoding_is_refused(client: Client) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.reconstructions.create(EXAMPLE)
    assert caught.value.type == "not-an-encoding"


def test_the_asynchronous_client_does_the_same(wire: Wire) -> None:
    async def use() -> None:
        async with AsyncClient(wire.url, retries=QUICK) as client:
            job = await client.reconstructions.create(ENCODING, deadline_seconds=3600)
            assert job.deadline_at is not None
            assert (await client.jobs.get(job.id)).kind == "reconstruction"
            assert [found.id async for found in client.jobs.list(kind="reconstruction")] == [job.id]

    anyio.run(use)
