from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from app.access.caller import Scope
from app.access.service import ApiKeyService
from app.settings import Settings
from tests.app.conftest import serving, submit
from tests.app.routes.test_authentication import bearer
from tests.app.uploads.test_uploads_api import CONTENT, DIGEST, TUS, begin

BOTH = (Scope.READ, Scope.WRITE)


@pytest.fixture
def client(with_keys: Settings, keys: ApiKeyService) -> Iterator[TestClient]:
    with serving(with_keys) as client:
        yield client


def speak_for(client: TestClient, keys: ApiKeyService, tenant: str, *scopes: Scope) -> None:
    client.headers.update(bearer(keys.create(tenant, scopes or BOTH).reveal()))


def test_the_upload_of_another_tenant_is_unknown(client: TestClient, keys: ApiKeyService) -> None:
    speak_for(client, keys, "acme")
    address = begin(client).headers["Location"]
    assert client.post("/checkpoints", content=CONTENT).status_code == 201
    of_a_job = submit(client).json()["checkpoint"]["sha256"]
    speak_for(client, keys, "rival")
    assert client.post("/jobs", json={"checkpoint": {"sha256": of_a_job}}).json()["type"] == "unknown-checkpoint"
    assert client.get(f"/checkpoints/{DIGEST}").status_code == 404
    assert client.delete(f"/checkpoints/{DIGEST}").status_code == 404
    assert client.post("/jobs", json={"checkpoint": {"sha256": DIGEST}}).json()["type"] == "unknown-checkpoint"
    assert [client.request(method, address, headers=TUS).status_code for method in ("HEAD", "DELETE")] == [404, 404]
    speak_for(client, keys, "acme")
    assert client.get(f"/checkpoints/{DIGEST}").status_code == 200
    assert client.head(address, headers=TUS).status_code == 200


def test_the_same_idempotency_key_of_two_tenants_makes_two_jobs(client: TestClient, keys: ApiKeyService) -> None:
    made = []
    for tenant in ("acme", "rival"):
        speak_for(client, keys, tenant)
        made.append(submit(client, headers={"Idempotency-Key": '"same"'}).json()["id"])
    assert made[0] != made[1]


def test_a_reading_key_uploads_and_deletes_nothing(client: TestClient, keys: ApiKeyService) -> None:
    speak_for(client, keys, "acme", Scope.READ)
    answers = [
        client.post("/checkpoints", content=CONTENT),
        client.delete(f"/checkpoints/{DIGEST}"),
        begin(client),
        client.delete("/jobs/job_1"),
    ]
    assert [(answer.status_code, answer.json()["type"]) for answer in answers] == [(403, "missing-scope")] * 4


def test_uploads_count_among_the_bytes_that_a_tenant_may_have(with_keys: Settings, keys: ApiKeyService) -> None:
    small = with_keys.model_copy(update={"max_stored_bytes": 2 * len(CONTENT)})
    with serving(small) as client:
        speak_for(client, keys, "acme")
        assert client.post("/checkpoints", content=CONTENT).status_code == 201
        address = begin(client).headers["Location"]
        refused = [submit(client), begin(client), client.post("/checkpoints", content=CONTENT)]
        assert [(answer.status_code, answer.json()["type"]) for answer in refused] == [(429, "storage-full")] * 3
        client.delete(address, headers=TUS)
        assert begin(client).status_code == 201


def test_a_repeated_request_is_answered_when_the_quota_is_used_up(with_keys: Settings, keys: ApiKeyService) -> None:
    with serving(with_keys.model_copy(update={"max_active_jobs": 1})) as client:
        speak_for(client, keys, "acme")
        first, again = (submit(client, headers={"Idempotency-Key": '"k"'}) for _ in range(2))
        assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
        assert submit(client).json()["type"] == "too-many-jobs"
