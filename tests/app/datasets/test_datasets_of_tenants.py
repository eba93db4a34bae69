import hashlib
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from app.access.caller import Scope
from app.access.service import ApiKeyService
from app.settings import Settings
from tests.app.conftest import serving, submit
from tests.app.datasets.test_datasets_api import WITH_DATA, upload, upload_in_pieces
from tests.app.routes.test_authentication import bearer
from tests.dataset_files import small_file

BOTH = (Scope.READ, Scope.WRITE)
SIZE = len(small_file())


@pytest.fixture
def client(with_keys: Settings, keys: ApiKeyService) -> Iterator[TestClient]:
    with serving(with_keys) as client:
        yield client


def speak_for(client: TestClient, keys: ApiKeyService, tenant: str, *scopes: Scope) -> None:
    client.headers.update(bearer(keys.create(tenant, scopes or BOTH).reveal()))


def test_the_data_set_of_another_tenant_is_unknown(client: TestClient, keys: ApiKeyService) -> None:
    speak_for(client, keys, "acme")
    upload(client, content=small_file(1))
    speak_for(client, keys, "rival")
    answers = [client.get("/datasets/mine"), client.delete("/datasets/mine")]
    assert [(answer.status_code, answer.json()["type"]) for answer in answers] == [(404, "unknown-dataset")] * 2
    assert "mine" not in [item["name"] for item in client.get("/datasets").json()["items"]]
    assert submit(client, WITH_DATA).json()["type"] == "unknown-dataset"
    speak_for(client, keys, "acme")
    assert client.get("/datasets/mine").status_code == 200


def test_two_tenants_may_use_the_same_name_for_different_data(client: TestClient, keys: ApiKeyService) -> None:
    digests = set()
    for shade, tenant in enumerate(("acme", "rival")):
        speak_for(client, keys, tenant)
        digests.add(upload(client, content=small_file(shade)).json()["sha256"])
        digests.add(submit(client, WITH_DATA).json()["dataset_sha256"])
    assert len(digests) == 2


def test_a_finished_upload_of_another_tenant_makes_no_data_set(client: TestClient, keys: ApiKeyService) -> None:
    speak_for(client, keys, "acme")
    upload_in_pieces(client, small_file())
    sha256 = upload(client, "other", small_file()).json()["sha256"]
    speak_for(client, keys, "rival")
    answer = client.post("/datasets", params={"name": "mine"}, json={"sha256": sha256})
    assert (answer.status_code, answer.json()["type"]) == (422, "unknown-upload")


def test_a_reading_key_lists_data_sets_and_changes_none(client: TestClient, keys: ApiKeyService) -> None:
    speak_for(client, keys, "acme", Scope.READ)
    assert client.get("/datasets").status_code == 200
    answers = [upload(client), client.delete("/datasets/mine")]
    assert [(answer.status_code, answer.json()["type"]) for answer in answers] == [(403, "missing-scope")] * 2


def test_data_sets_count_once_among_the_bytes_that_a_tenant_may_have(with_keys: Settings, keys: ApiKeyService) -> None:
    with serving(with_keys.model_copy(update={"max_stored_bytes": 2 * SIZE})) as client:
        speak_for(client, keys, "acme")
        upload_in_pieces(client, small_file(1))
        sha256 = hashlib.sha256(small_file(1)).hexdigest()
        assert client.post("/datasets", params={"name": "first"}, json={"sha256": sha256}).status_code == 201
        assert upload(client, "second", small_file(2)).status_code == 201
        refused = upload(client, "third", small_file(3))
        assert (refused.status_code, refused.json()["type"]) == (429, "storage-full")
        client.delete("/datasets/first")
        assert upload(client, "third", small_file(3)).status_code == 201
