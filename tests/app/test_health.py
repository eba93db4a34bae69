import shutil

from starlette.testclient import TestClient

from app.settings import Settings


def test_a_service_that_can_work_is_live_and_ready(client: TestClient) -> None:
    assert client.get("/livez").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}


def test_without_its_store_the_service_lives_but_is_not_ready(embedded_client: TestClient, embedded: Settings) -> None:
    shutil.rmtree(embedded.artifacts)
    answer = embedded_client.get("/readyz")
    assert (answer.status_code, answer.json()["type"]) == (503, "not-ready")
    assert answer.headers["Retry-After"] == "5"
    assert embedded_client.get("/livez").status_code == 200


def test_without_its_database_the_service_is_not_ready(embedded_client: TestClient, embedded: Settings) -> None:
    database = embedded.data_dir / "nern.db"
    database.unlink()
    database.mkdir()
    assert embedded_client.get("/readyz").status_code == 503
