"""During a rolling upgrade, each release reads rows written by the other."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text as sql
from sqlalchemy import update
from starlette.testclient import TestClient

from app.access.caller import Scope
from app.access.models import ApiKey
from app.access.service import ApiKeyService
from app.datasets.models import Dataset
from app.db.engine import create_sessions
from app.jobs.deliveries.models import WebhookDelivery
from app.jobs.deliveries.repository import DeliveryRepository
from app.jobs.events.models import JobEvent
from app.jobs.models import Job, JobStatus
from app.jobs.repository import JobRepository
from app.kit.fair_shares import FairShares
from app.settings import Settings
from tests.app.conftest import serving, submit
from tests.app.routes.test_authentication import bearer
from tests.app.test_jobs_api import finish
from tests.conftest import transaction
from tests.dataset_files import small_file

LEASE = timedelta(seconds=30)
NEWER: dict[str, Any] = {
    "options": {"recipe": "neural", "unheard_of": 3},
    "progress": {"phase": "dreaming", "share": 0.5},
    "metrics": {"quality": "fine"},
    "webhook": {"url": "https://127.0.0.1/", "events": ["job.dreamt"], "format": "cbor"},
    "labels": {"team": "vision"},
    "artifacts": {"dream.bin": {"bytes": 3, "sha256": "a" * 64, "codec": "zstd"}, "odd": {"parts": []}},
    "snapshots": {"training-1": {"parts": ["a"]}, "Later": {"bytes": 1, "sha256": "b" * 64}},
    "kind": "pruning",
    "phase": "dreaming",
}


def write(settings: Settings, job_id: str, **columns: Any) -> None:
    with transaction(settings) as session:
        session.execute(update(Job).where(Job.id == job_id).values(**columns))


def test_rows_of_the_next_release_can_be_followed_listed_canceled_and_deleted(
    client: TestClient, settings: Settings
) -> None:
    older = submit(client).json()["id"]
    newer = {column: submit(client).json()["id"] for column in NEWER}
    for column, job_id in newer.items():
        write(settings, job_id, **{column: NEWER[column]})
    assert len(client.get("/jobs").json()["items"]) == 1 + len(NEWER)
    assert client.get("/").status_code == 200
    for column, job_id in newer.items():
        for address in (f"/jobs/{job_id}", f"/jobs/{job_id}/events", f"/view/{job_id}", f"/new?like={job_id}"):
            assert client.get(address).status_code == 200, (column, address)
        assert client.get(f"/jobs/{job_id}/weights").status_code == 409, column
        assert client.post(f"/jobs/{job_id}/cancel").json()["status"] == "canceled", column
        assert client.delete(f"/jobs/{job_id}").status_code == 204, column
    assert [job["id"] for job in client.get("/jobs").json()["items"]] == [older]


@pytest.mark.parametrize("stored", [["of another form"], {"team": {"name": 1}}, {"events": None}])
def test_a_column_of_another_form_fails_neither_its_job_nor_the_list(
    embedded_client: TestClient, embedded: Settings, stored: object
) -> None:
    columns = ("options", "progress", "metrics", "webhook", "labels", "artifacts", "snapshots")
    jobs = {column: submit(embedded_client).json()["id"] for column in columns}
    for column, job_id in jobs.items():
        write(embedded, job_id, **{column: stored})
    assert len(embedded_client.get("/jobs").json()["items"]) == len(columns)
    for column, job_id in jobs.items():
        assert embedded_client.get(f"/view/{job_id}").status_code == 200, column
        assert embedded_client.post(f"/jobs/{job_id}/cancel").json()["status"] == "canceled", column
        assert embedded_client.delete(f"/jobs/{job_id}").status_code == 204, column


def test_options_metrics_and_webhooks_are_shown_as_they_are_stored(client: TestClient, settings: Settings) -> None:
    job_id = submit(client).json()["id"]
    shown = ("options", "metrics", "webhook")
    write(settings, job_id, **{column: NEWER[column] for column in shown})
    job = client.get(f"/jobs/{job_id}").json()
    assert {column: job[column] for column in shown} == {column: NEWER[column] for column in shown}
    assert "Encoding with options of a newer release" in client.get(f"/view/{job_id}").text


def test_options_that_are_younger_than_a_row_have_their_defaults(client: TestClient, settings: Settings) -> None:
    job_id = submit(client).json()["id"]
    write(settings, job_id, options={"steps": 3})
    assert (
        client.get(f"/jobs/{job_id}").json()["options"] | {"steps": 3, "seed": 0}
        == (client.get(f"/jobs/{job_id}").json()["options"])
    )


def test_a_result_of_the_next_release_can_be_downloaded_by_its_name(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    job = submit(client).json()
    finish(settings, job["id"], tmp_path)
    known = client.get(job["links"]["self"]).json()["artifacts"]["encoding.nern"]
    write(settings, job["id"], artifacts={"dream.bin": {"bytes": known["bytes"], "sha256": known["sha256"]}})
    found = client.get(job["links"]["self"]).json()["artifacts"]["dream.bin"]
    assert client.get(found["url"]).content == client.get(f"/jobs/{job['id']}/artifacts/dream.bin").content != b""


@pytest.mark.parametrize("columns", [{"options": NEWER["options"]}, {"kind": "pruning"}], ids=["options", "kind"])
def test_a_worker_leaves_a_job_that_it_does_not_understand_to_others(
    client: TestClient, settings: Settings, columns: dict[str, Any]
) -> None:
    job_id = submit(client).json()["id"]
    write(settings, job_id, **columns)
    sessions = create_sessions(settings)
    pauses = []
    for _ in range(3):
        with sessions.begin() as session:
            jobs = JobRepository(session)
            assert jobs.claim(job_id, LEASE) is None
            job = session.get_one(Job, job_id)
            assert (job.status, job.attempt, job.releases) == (JobStatus.QUEUED, 0, 0)
            assert job.announce_at is not None
            pauses.append(round((job.announce_at - jobs.now()).total_seconds()))
    assert all(5 <= pause <= 60 for pause in pauses)
    assert pauses == sorted(set(pauses))
    assert "newer release" in client.get(f"/jobs/{job_id}").json()["message"]
    assert "nern_jobs_not_understood 1.0" in client.get("/metrics").text
    write(settings, job_id, options={}, kind="encoding")
    with sessions.begin() as session:
        claim = JobRepository(session).claim(job_id, LEASE)
        assert claim is not None
        assert claim.attempt == 1
    sessions.kw["bind"].dispose()


def test_a_worker_begins_anew_where_it_cannot_read_the_snapshots(ten_jobs: Any) -> None:
    good = {"bytes": 1, "sha256": "b" * 64}
    with ten_jobs.begin() as session:
        columns = {"snapshots": NEWER["snapshots"] | {"training-2": good}}
        session.execute(update(Job).where(Job.id == "job_1").values(**columns))
        claim = JobRepository(session).claim("job_1", LEASE)
    assert claim is not None
    assert claim.snapshots == {"training-2": good}


def test_events_and_deliveries_of_the_next_release_are_listed(client: TestClient, settings: Settings) -> None:
    job_id = submit(client).json()["id"]
    with transaction(settings) as session:
        jobs = JobRepository(session)
        now = jobs.now()
        session.add(JobEvent(job_id=job_id, number=2, kind="dreaming", time=now, data={"share": 0.5}))
        log = [{"at": now.isoformat(), "medium": "pigeon"}]
        session.add(
            WebhookDelivery(
                id="msg_1", job_id=job_id, tenant="default", event="job.dreamt", attempts=1, log=log, created_at=now
            )
        )
    events = client.get(f"/jobs/{job_id}/events").json()["items"]
    assert [event["kind"] for event in events] == ["queued", "dreaming"]
    (delivery,) = client.get(f"/jobs/{job_id}/deliveries").json()["items"]
    assert (delivery["event"], delivery["attempts"]) == ("job.dreamt", [])


@pytest.mark.parametrize("log", [{"first": 1}, 5, "text"])
def test_a_log_of_another_form_is_an_empty_one(client: TestClient, settings: Settings, log: object) -> None:
    job_id = submit(client).json()["id"]
    with transaction(settings) as session:
        row = {"id": "msg_1", "job_id": job_id, "tenant": "default", "event": "job.failed", "attempts": 0}
        session.add(WebhookDelivery(**row, log=log, created_at=DeliveryRepository(session).now()))
    assert client.get(f"/jobs/{job_id}/deliveries").json()["items"][0]["attempts"] == []
    with transaction(settings) as session:
        deliveries = DeliveryRepository(session)
        # In one transaction, so that the courier of the service does not take it before.
        session.execute(update(WebhookDelivery).values(due_at=deliveries.now()))
        (due,) = deliveries.take(1, LEASE, FairShares(1))
        assert due.log == []


def test_a_data_set_of_the_next_release_is_listed(client: TestClient, settings: Settings) -> None:
    assert client.post("/datasets?name=small", content=small_file()).status_code == 201
    with transaction(settings) as session:
        session.execute(update(Dataset).values(splits={"train": {"images": 5, "frames": 2}, "validation": {}}))
    listed = {found["name"]: found for found in client.get("/datasets").json()["items"]}
    assert listed["small"]["train"] == {"bytes": 0, "images": 5, "shape": None}


@pytest.fixture
def with_keys_client(with_keys: Settings, keys: ApiKeyService) -> Iterator[TestClient]:
    with serving(with_keys) as client:
        yield client


def test_a_key_with_a_scope_of_the_next_release_is_good_for_those_that_are_known(
    with_keys_client: TestClient, with_keys: Settings, keys: ApiKeyService
) -> None:
    token = keys.create("acme", [Scope.READ])
    with transaction(with_keys) as session:
        session.execute(update(ApiKey).values(scopes=["jobs:read", "models:write"]))
    assert with_keys_client.get("/jobs", headers=bearer(token.reveal())).status_code == 200


@pytest.mark.parametrize("scopes", [5, "jobs:read", {"jobs:read": True}])
def test_a_key_with_scopes_of_another_form_has_none(
    with_keys_client: TestClient, with_keys: Settings, keys: ApiKeyService, scopes: object
) -> None:
    token = keys.create("acme", [Scope.READ])
    with transaction(with_keys) as session:
        session.execute(update(ApiKey).values(scopes=scopes))
    assert with_keys_client.get("/jobs", headers=bearer(token.reveal())).status_code == 403


def test_metrics_of_the_next_release_leave_those_of_the_service_to_be_read(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    job_id = submit(client).json()["id"]
    finish(settings, job_id, tmp_path)
    write(settings, job_id, metrics=NEWER["metrics"])
    assert 'nern_jobs_ended_total{device="cpu"' in client.get("/metrics").text


TIMES = ("created_at", "started_at", "finished_at", "deadline_at", "lease_until", "announce_at")
IN_POSTGRESQL = ("infinity", "-infinity", "9999-12-30 12:00:00+00", "20000-01-01 00:00:00+00", "0044-03-15 00:00:00 BC")
IN_SQLITE = ("infinity", "9999-12-30 12:00:00.000000", "20000-01-01 00:00:00.000000", "last Tuesday")


def write_time(settings: Settings, job_id: str, column: str, text: str) -> None:
    """Store a time as another program may, past the types of the columns."""
    with transaction(settings) as session:
        session.execute(sql(f"UPDATE jobs SET {column} = '{text}' WHERE id = :id"), {"id": job_id})


@pytest.mark.parametrize("column", TIMES)
def test_a_time_outside_of_the_calendar_fails_neither_its_job_nor_the_list(
    client: TestClient, settings: Settings, column: str
) -> None:
    texts = IN_SQLITE if settings.embedded else IN_POSTGRESQL
    jobs = [submit(client).json()["id"] for _ in texts]
    for job_id, text in zip(jobs, texts, strict=True):
        write(settings, job_id, status="failed", error_code="x", error_message="It failed.")
        write_time(settings, job_id, column, text)
    assert {job["id"] for job in client.get("/jobs").json()["items"]} == set(jobs)
    assert client.get("/").status_code == 200
    assert client.get("/metrics").status_code == 200
    for job_id, text in zip(jobs, texts, strict=True):
        for address in (f"/jobs/{job_id}", f"/jobs/{job_id}/events", f"/view/{job_id}"):
            assert client.get(address).status_code == 200, (text, address)


def test_a_job_that_ended_at_the_end_of_the_calendar_expires_there(client: TestClient, settings: Settings) -> None:
    job_id = submit(client).json()["id"]
    write_time(settings, job_id, "finished_at", "9999-12-30 12:00:00")
    assert client.get(f"/jobs/{job_id}").json()["expires_at"] == "9999-12-31T23:59:59.999999Z"
