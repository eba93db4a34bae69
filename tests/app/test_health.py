import shutil

import pytest
from starlette.testclient import TestClient

from app.settings import Settings
from tests.app.conftest import serving
from tests.databases import drop_database, postgres_database


def test_a_service_that_can_work_is_live_and_ready(client: TestClient) -> None:
    assert client.get("/livez").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_may_ask_for_the_head_alone(client: TestClient, path: str) -> None:
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_without_its_store_the_service_lives_but_is_not_ready(embedded_client: TestClient, embedded: Settings) -> None:
    shutil.rmtree(embedded.artifacts)
    answer = embedded_client.get("/readyz")
    assert (answer.status_code, answer.json()["type"]) == (503, "not-ready")
    assert answer.headers["Retry-After"] == "5"
    assert embedded_client.get("/livez").status_code == 200


@pytest.mark.parametrize("settings", ["production"], indirect=True)
def test_without_its_database_the_service_lives_but_is_not_ready(settings: Settings, migrated_postgres: str) -> None:
    with (
        postgres_database(migrated_postgres) as url,
        serving(settings.model_copy(update={"database_url": url})) as client,
    ):
        assert client.get("/readyz").status_code == 200
        drop_database(url)
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200
