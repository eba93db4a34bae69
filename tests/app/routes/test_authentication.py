import time
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from app.access.caller import Scope
from app.access.callers import SECONDS
from app.access.service import ApiKeyService
from app.settings import Settings
from tests.app.conftest import serving, submit

BOTH = (Scope.READ, Scope.WRITE)
OPEN = {"/livez", "/readyz"}


@pytest.fixture
def client(with_keys: Settings, keys: ApiKeyService) -> Iterator[TestClient]:
    """A client without a key, of a service with keys."""
    with serving(with_keys) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


IDS = {"job_id": "job_1", "name": "weights.pt", "sha256": "a" * 64, "upload_id": "upload_1"}


def operations(client: TestClient) -> list[tuple[str, str]]:
    """Method and path of all documented operations except metrics, which have their own token."""
    paths = client.get("/openapi.json").json()["paths"]
    found = [(method.upper(), path) for path in paths for method in paths[path] if path != "/metrics"]
    # The answer to a HEAD has no body.
    return [(method, path) for method, path in found if method != "HEAD"]


def test_without_a_key_nothing_but_health_and_documentation_is_served(client: TestClient) -> None:
    for method, path in operations(client):
        answer = client.request(method, path.format(**IDS))
        if path in OPEN:
            assert answer.status_code == 200
        else:
            assert (answer.status_code, answer.json()["type"]) == (401, "missing-key"), (method, path)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert "Authorization: Bearer nern_" in answer.json()["detail"]
    assert client.get("/docs").status_code == 200


def test_a_wrong_key_is_refused_everywhere(client: TestClient) -> None:
    for method, path in operations(client):
        if path not in OPEN:
            answer = client.request(method, path.format(**IDS), headers=bearer("nern_x"))
            assert (answer.status_code, answer.json()["type"]) == (401, "invalid-key"), (method, path)


def test_another_kind_of_credentials_is_no_key(client: TestClient) -> None:
    answer = client.get("/jobs", auth=("user", "password"))
    assert (answer.status_code, answer.json()["type"]) == (401, "missing-key")


def test_a_key_opens_the_service(client: TestClient, keys: ApiKeyService) -> None:
    client.headers.update(bearer(keys.create("acme", BOTH).reveal()))
    job = submit(client)
    assert job.status_code == 202
    assert client.get(job.headers["Location"]).status_code == 200


def test_a_key_opens_nothing_any_more_a_second_after_it_was_revoked(client: TestClient, keys: ApiKeyService) -> None:
    token = keys.create("acme", BOTH)
    client.headers.update(bearer(token.reveal()))
    assert client.get("/jobs").status_code == 200
    keys.revoke(token.key_id)
    time.sleep(SECONDS)
    answer = client.get("/jobs")
    assert (answer.status_code, answer.json()["type"]) == (401, "revoked-key")


def test_a_missing_scope_is_named(client: TestClient, keys: ApiKeyService) -> None:
    for held, missing, method, path in (
        (Scope.READ, "jobs:write", "POST", "/jobs"),
        (Scope.READ, "jobs:write", "POST", "/jobs/job_1/cancel"),
        (Scope.WRITE, "jobs:read", "GET", "/jobs"),
        (Scope.WRITE, "jobs:read", "GET", "/jobs/job_1/weights"),
    ):
        answer = client.request(method, path, headers=bearer(keys.create("acme", [held]).reveal()))
        assert (answer.status_code, answer.json()["type"]) == (403, "missing-scope")
        assert f"does not have the scope `{missing}`" in answer.json()["detail"]
        assert answer.headers["WWW-Authenticate"] == f'Bearer error="insufficient_scope", scope="{missing}"'


def test_an_upload_without_a_key_is_refused_before_it_is_read(client: TestClient, with_keys: Settings) -> None:
    answer = submit(client, checkpoint=b"x" * 5_000_000)
    assert answer.status_code == 401
    assert answer.headers["Connection"] == "close"


def test_the_documentation_says_which_scope_a_route_needs(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert paths["/jobs"]["get"]["security"] == [{"API key": ["jobs:read"]}]
    assert paths["/jobs"]["post"]["security"] == [{"API key": ["jobs:write"]}]
    assert "security" not in paths["/livez"]["get"]


def test_a_service_without_keys_asks_for_none(embedded_client: TestClient) -> None:
    assert embedded_client.get("/jobs").status_code == 200
