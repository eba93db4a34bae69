import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from starlette.testclient import TestClient

from app.access.caller import Scope
from app.access.service import ApiKeyService
from app.db.engine import create_sessions
from app.db.schema import migrate
from app.main import create_app
from app.metrics import jobs as job_metrics
from app.settings import Settings
from app.workers.repository import WorkerRepository
from tests.app.conftest import serving, submit
from tests.app.test_jobs_api import finish
from tests.chaos.unreliable_commits import commit_without_answer
from tests.conftest import EXAMPLE, ROOT, transaction

TOKEN = "a-token-of-some-length"


@pytest.fixture(autouse=True)
def _look_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_metrics, "_SECONDS_BETWEEN_LOOKS", 0.0)


def read(client: TestClient, token: str | None = None) -> dict[tuple[str, ...], float]:
    """The samples by name and values of their labels."""
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {token}"} if token else {})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_requests_are_counted_by_method_route_and_status(embedded_client: TestClient) -> None:
    job_id = submit(embedded_client).json()["id"]
    for path in (f"/jobs/{job_id}", f"/jobs/{job_id}", "/jobs/job_unknown", "/nowhere", "/else"):
        embedded_client.get(path)
    found = read(embedded_client)
    assert found["nern_http_requests_total", "GET", "/jobs/{job_id}", "200"] == 2
    assert found["nern_http_requests_total", "GET", "/jobs/{job_id}", "404"] == 1
    assert found["nern_http_requests_total", "GET", "none", "404"] == 2
    assert found["nern_http_requests_total", "POST", "/jobs", "202"] == 1
    assert found["nern_http_request_duration_seconds_count", "GET", "/jobs/{job_id}"] == 3
    assert found["nern_http_request_body_bytes_total", "POST", "/jobs"] > EXAMPLE.stat().st_size


def test_what_the_edge_refuses_is_counted_too(embedded_client: TestClient) -> None:
    embedded_client.get("/jobs", headers={"Host": "elsewhere.example"})
    embedded_client.request("BREW", "/jobs")
    found = read(embedded_client)
    assert found["nern_http_requests_total", "GET", "none", "421"] == 1
    assert sum(value for key, value in found.items() if key[:2] == ("nern_http_requests_total", "other")) == 1


def test_jobs_that_have_not_ended_are_told_by_status_and_device(client: TestClient) -> None:
    submit(client)
    submit(client, {"device": "gpu"})
    first = submit(client, {"device": "gpu"}).json()["id"]
    client.post(f"/jobs/{first}/cancel")
    time.sleep(0.05)
    found = read(client)
    assert found["nern_jobs", "cpu", "queued"] == 1
    assert found["nern_jobs", "gpu", "queued"] == 1
    assert found["nern_jobs", "cpu", "running"] == 0
    assert 0.04 < found["nern_queue_oldest_wait_seconds", "gpu"] < 60
    assert found["nern_database_up",] == 1
    assert found["nern_artifact_store_free_bytes",] > 0


def test_a_job_that_ended_in_the_future_does_not_hide_those_that_end_before_it(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    first, second = (submit(client).json()["id"] for _ in range(2))
    finish(settings, first, tmp_path)
    with transaction(settings) as session:
        session.execute(sql("UPDATE jobs SET finished_at = '9999-12-30 12:00:00' WHERE id = :id"), {"id": first})
    assert read(client)["nern_jobs_ended_total", "cpu", "", "encoding", "succeeded"] == 1
    finish(settings, second, tmp_path)
    assert read(client)["nern_jobs_ended_total", "cpu", "", "encoding", "succeeded"] == 2


def test_jobs_that_have_ended_are_counted_once(client: TestClient, settings: Settings, tmp_path: Path) -> None:
    finish(settings, submit(client).json()["id"], tmp_path)
    canceled = submit(client).json()["id"]
    client.post(f"/jobs/{canceled}/cancel")
    read(client)
    found = read(client)
    # Device, error, kind, status.
    assert found["nern_jobs_ended_total", "cpu", "", "encoding", "succeeded"] == 1
    assert found["nern_jobs_ended_total", "cpu", "", "encoding", "canceled"] == 1
    assert found["nern_job_duration_seconds_count", "cpu", "encoding", "succeeded"] == 1
    assert found["nern_job_wait_seconds_count", "cpu"] == 1
    assert found["nern_job_compression_ratio_count",] == 1
    assert found["nern_job_compression_ratio_sum",] == 2.0


def test_what_ended_before_the_process_began_is_not_counted(settings: Settings, tmp_path: Path) -> None:
    with serving(settings) as client:
        finish(settings, submit(client).json()["id"], tmp_path)
    with serving(settings) as client:
        assert ("nern_jobs_ended_total", "cpu", "", "encoding", "succeeded") not in read(client)


def test_the_database_is_not_asked_more_often_than_every_few_seconds(
    embedded_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_metrics, "_SECONDS_BETWEEN_LOOKS", 60.0)
    assert read(embedded_client)["nern_jobs", "cpu", "queued"] == 0
    submit(embedded_client)
    assert read(embedded_client)["nern_jobs", "cpu", "queued"] == 0


def test_a_lost_database_is_told_and_requests_still_are(embedded: Settings) -> None:
    with serving(embedded) as client:
        read(client)
        Path(embedded.database.removeprefix("sqlite:///")).write_bytes(b"no database " * 1000)
        found = read(client)
        assert found["nern_database_up",] == 0
        assert found["nern_http_requests_total", "GET", "/metrics", "200"] == 1


@pytest.mark.parametrize("settings", ["production"], indirect=True)
def test_a_commit_whose_answer_is_lost_does_not_end_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([True])
    migrate(settings)
    monkeypatch.setattr(PGDialect_psycopg, "do_commit", commit_without_answer(lambda: next(losses, False)))
    with TestClient(create_app(settings), "http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        assert list(losses) == []
        assert read(client)["nern_database_up",] == 1


def test_with_keys_there_are_no_metrics_without_a_token(with_keys: Settings, keys: ApiKeyService) -> None:
    key = keys.create("acme", tuple(Scope)).reveal()
    with serving(with_keys) as client:
        for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {key}"}):
            answer = client.get("/metrics", headers=headers)
            assert (answer.status_code, answer.json()["type"]) == (401, "invalid-metrics-token")
            assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_token_is_asked_for_where_one_is_set(with_keys: Settings, keys: ApiKeyService) -> None:
    key = keys.create("acme", tuple(Scope)).reveal()
    with serving(with_keys.model_copy(update={"metrics_token": TOKEN})) as client:
        assert read(client, TOKEN)["nern_database_up",] == 1
        for wrong in (b"", f"Bearer {key}".encode(), "Bearer ü".encode("latin-1")):
            answer = client.get("/metrics", headers={b"Authorization": wrong})
            assert (answer.status_code, answer.json()["type"]) == (401, "invalid-metrics-token")


def test_no_name_of_a_tenant_is_told(with_keys: Settings, keys: ApiKeyService) -> None:
    key = keys.create("acme", tuple(Scope)).reveal()
    with serving(with_keys.model_copy(update={"metrics_token": TOKEN})) as client:
        client.get("/jobs", headers={"Authorization": f"Bearer {key}"})
        assert "acme" not in client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text


def test_every_metric_is_documented(embedded_client: TestClient) -> None:
    documented = (ROOT / "docs" / "metrics.md").read_text()
    families = text_string_to_metric_families(embedded_client.get("/metrics").text)
    own = {f.name + "_total" * (f.type == "counter") for f in families if f.name.startswith("nern_")}
    assert {name for name in own if f"| `{name}` |" not in documented} == set()


def test_workers_that_cannot_work_are_counted_by_reason(client: TestClient, settings: Settings) -> None:
    sessions = create_sessions(settings)
    with sessions.begin() as session:
        for worker, reason in (("a:1", "disk_full"), ("b:1", "disk_full"), ("c:1", "disk_error"), ("c:1", "disk_full")):
            WorkerRepository(session).note_unfit(worker, reason)
        WorkerRepository(session).note_fit("b:1")
    sessions.kw["bind"].dispose()
    found = {key[1]: value for key, value in read(client).items() if key[0] == "nern_workers_unfit"}
    assert found == {"disk_full": 2.0}
