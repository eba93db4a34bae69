from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.access.caller import Scope
from app.access.service import ApiKeyService
from app.jobs.models import Job
from app.kit.tenants import DEFAULT_TENANT
from app.settings import Settings
from tests.app.conftest import serving, submit
from tests.app.routes.test_authentication import bearer, operations
from tests.app.test_jobs_api import finish
from tests.conftest import transaction

BOTH = (Scope.READ, Scope.WRITE)


@pytest.fixture
def client(with_keys: Settings, keys: ApiKeyService) -> Iterator[TestClient]:
    with serving(with_keys) as client:
        yield client


@pytest.fixture
def acme(keys: ApiKeyService) -> dict[str, str]:
    """The headers of one tenant."""
    return bearer(keys.create("acme", BOTH).reveal())


@pytest.fixture
def rival(keys: ApiKeyService) -> dict[str, str]:
    """The headers of another one."""
    return bearer(keys.create("rival", BOTH).reveal())


def submitted(client: TestClient, headers: dict[str, str]) -> str:
    client.headers.update(headers)
    job_id: str = submit(client).json()["id"]
    del client.headers["Authorization"]
    return job_id


def test_whatever_is_asked_about_the_job_of_another_tenant_it_is_unknown(
    client: TestClient, with_keys: Settings, acme: dict[str, str], rival: dict[str, str], tmp_path: Path
) -> None:
    finished, queued = submitted(client, acme), submitted(client, acme)
    finish(with_keys, finished, tmp_path)
    addressed = [(method, path) for method, path in operations(client) if "{job_id}" in path]
    assert len(addressed) >= 6
    for method, path in addressed:
        for job_id in (finished, queued):
            # The answer repeats the id, so an id of the same form and length is asked for.
            nobodys = f"{job_id[:-1]}{'0' if job_id[-1] != '0' else '1'}"
            unknown = client.request(method, path.format(job_id=nobodys, name="weights.pt"), headers=rival)
            foreign = client.request(method, path.format(job_id=job_id, name="weights.pt"), headers=rival)
            assert foreign.status_code == unknown.status_code == 404, (method, path)
            expected = unknown.json() | {"detail": unknown.json()["detail"].replace(nobodys, job_id), "request_id": ""}
            assert foreign.json() | {"request_id": ""} == expected, (method, path)
    assert client.get(f"/jobs/{queued}", headers=acme).json()["status"] == "queued"
    assert client.get(f"/jobs/{finished}/weights", headers=acme).content == b"safetensors"


def test_a_tenant_lists_its_own_jobs(client: TestClient, acme: dict[str, str], rival: dict[str, str]) -> None:
    own, foreign = submitted(client, acme), submitted(client, rival)
    for query in ("", "?status=queued", f"?cursor=job_{'f' * 12}7{'f' * 3}8{'f' * 15}"):
        listed = client.get(f"/jobs{query}", headers=acme).json()["items"]
        assert [job["id"] for job in listed] == [own]
    assert client.get(f"/jobs?cursor={foreign}", headers=acme).json()["items"][0]["id"] == own


def test_all_keys_of_a_tenant_share_its_jobs(client: TestClient, keys: ApiKeyService, acme: dict[str, str]) -> None:
    job_id = submitted(client, acme)
    reader = bearer(keys.create("acme", [Scope.READ]).reveal())
    assert client.get(f"/jobs/{job_id}", headers=reader).status_code == 200


def test_without_keys_all_jobs_are_the_default_tenants(embedded_client: TestClient, embedded: Settings) -> None:
    job_id = submit(embedded_client).json()["id"]
    with transaction(embedded) as session:
        assert session.get_one(Job, job_id).tenant == DEFAULT_TENANT
