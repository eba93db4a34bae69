"""Downloads that the service redirects to a store."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from pydantic import AnyHttpUrl

from app.settings import Downloads, Settings
from nern_client import ApiError, AsyncClient, Client
from tests.conftest import EXAMPLE
from tests.nern_client.conftest import QUICK, listening, succeed
from tests.nern_client.test_downloads import CONTENT, DIGEST, NAME, files, ranges
from tests.nern_client.wire import Wire, cut_answer, damage, refuse, reset, wire_to
from tests.s3 import S3Server


@pytest.fixture
def store(s3_server: S3Server) -> Iterator[Wire]:
    """A wire between clients and the store."""
    with wire_to(s3_server.port) as store:
        yield store


@pytest.fixture
def redirecting(with_bucket: Settings, store: Wire) -> Settings:
    return with_bucket.model_copy(
        update={"downloads": Downloads.REDIRECTED, "s3_public_endpoint": AnyHttpUrl(store.url)}
    )


@pytest.fixture
def wire(redirecting: Settings) -> Iterator[Wire]:
    """A wire between clients and the service."""
    with listening(redirecting) as port, wire_to(port) as wire:
        yield wire


@pytest.fixture
def client(wire: Wire) -> Iterator[Client]:
    with Client(wire.url, api_key="nern_key", retries=QUICK) as client:
        yield client


@pytest.fixture
def job_id(client: Client, redirecting: Settings) -> str:
    job = client.jobs.create(EXAMPLE)
    succeed(redirecting, job.id, {NAME: CONTENT})
    return job.id


def test_a_result_is_fetched_from_where_the_service_sends_the_client(
    client: Client, wire: Wire, store: Wire, job_id: str, tmp_path: Path
) -> None:
    client.jobs.download(job_id, NAME, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert len(store.seen) == 1
    assert all("authorization: bearer nern_key" in head for head in wire.heads)
    assert not any("authorization" in head for head in store.heads)


def test_it_goes_on_there_where_it_broke_off(client: Client, store: Wire, job_id: str, tmp_path: Path) -> None:
    store.harm("GET /", cut_answer(5000), reset, refuse("503 Slow Down"))
    client.jobs.download(job_id, NAME, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert ranges(store) == ["bytes=5000-"] * 3


def test_what_was_damaged_on_the_way_is_fetched_anew(client: Client, store: Wire, job_id: str, tmp_path: Path) -> None:
    (tmp_path / f".{NAME}.{DIGEST[:16]}.part").write_bytes(CONTENT[:1000])
    store.harm("GET /", damage)
    client.jobs.download(job_id, NAME, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert files(tmp_path) == [NAME]


def test_what_the_store_refuses_is_told(client: Client, store: Wire, job_id: str, tmp_path: Path) -> None:
    store.harm("GET /", refuse("403 Forbidden", body="<Error><Code>AccessDenied</Code></Error>"))
    with pytest.raises(ApiError, match="answered 403"):
        client.jobs.download(job_id, NAME, tmp_path / NAME)


def test_the_asynchronous_client_does_the_same(wire: Wire, store: Wire, job_id: str, tmp_path: Path) -> None:
    async def fetch() -> None:
        async with AsyncClient(wire.url, api_key="nern_key", retries=QUICK) as client:
            await client.jobs.download(job_id, NAME, tmp_path / NAME)

    anyio.run(fetch)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert not any("authorization" in head for head in store.heads)
