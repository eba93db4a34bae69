import json
from typing import Any

import httpx2
import pytest
from sqlalchemy import event, select
from starlette.testclient import TestClient

from app.jobs.models import JobLabel
from app.jobs.repository import JobRepository
from app.jobs.submission.labels import Label, parse_wanted
from app.kit.problems import Problem
from app.settings import Settings
from tests.app.test_jobs_api import finish
from tests.conftest import EXAMPLE, transaction

pytestmark = pytest.mark.both_modes

LABELS = {"team": "vision", "model/name": "ResNet 20, größer"}


def submit_labelled(client: TestClient, labels: Any, headers: dict[str, str] | None = None) -> httpx2.Response:
    part = labels if isinstance(labels, str) else json.dumps(labels)
    form = {"files": {"checkpoint": EXAMPLE.read_bytes()}, "data": {"labels": part}}
    return client.post("/jobs", **form, headers=headers)  # type: ignore[arg-type] # a form


def found(client: TestClient, *labels: str, **more: str) -> list[str]:
    answer = client.get("/jobs", params={"label": list(labels), **more})
    assert answer.status_code == 200, answer.json()
    return [job["id"] for job in answer.json()["items"]]


def test_labels_of_a_form_are_shown_in_the_job(client: TestClient) -> None:
    job = submit_labelled(client, LABELS).json()
    assert job["labels"] == LABELS
    assert client.get(job["links"]["self"]).json()["labels"] == LABELS


def test_labels_of_a_document_are_shown_in_the_job(client: TestClient) -> None:
    sha256 = client.post("/checkpoints", content=EXAMPLE.read_bytes()).json()["sha256"]
    job = client.post("/jobs", json={"checkpoint": {"sha256": sha256}, "labels": LABELS}).json()
    assert job["labels"] == LABELS


def test_a_job_without_labels_has_none(client: TestClient) -> None:
    job = client.post("/jobs", files={"checkpoint": EXAMPLE.read_bytes()}).json()
    assert job["labels"] == {}


def test_a_list_is_narrowed_to_the_jobs_with_all_labels(client: TestClient) -> None:
    first, second, third = (
        submit_labelled(client, labels).json()["id"]
        for labels in ({"team": "vision"}, {"team": "vision", "model": "a=b"}, {"team": "speech", "model": "a=b"})
    )
    assert found(client, "team=vision") == [second, first]
    assert found(client, "team=vision", "model=a=b") == [second]
    assert found(client, "model=a=b") == [third, second]
    assert found(client, "team=vision", "team=speech") == []
    assert found(client, "team=vis") == found(client, "tea=vision") == []


def test_a_narrowed_list_comes_in_pages_and_by_status(client: TestClient) -> None:
    ids = [submit_labelled(client, {"team": "vision"}).json()["id"] for _ in range(3)]
    client.post(f"/jobs/{ids[0]}/cancel")
    page = client.get("/jobs", params={"label": "team=vision", "limit": 2}).json()
    assert [job["id"] for job in page["items"]] == [ids[2], ids[1]]
    assert found(client, "team=vision", cursor=page["next_cursor"]) == [ids[0]]
    assert found(client, "team=vision", status="canceled") == [ids[0]]


def test_labels_of_another_tenant_find_nothing(client: TestClient, settings: Settings) -> None:
    submit_labelled(client, LABELS)
    with transaction(settings) as session:
        wanted = {"status": None, "labels": [Label("team", "vision")], "before": None, "limit": 9}
        assert JobRepository(session).page("another", **wanted) == []  # type: ignore[arg-type] # by name


def test_a_deleted_job_leaves_no_labels(client: TestClient, settings: Settings, tmp_path: Any) -> None:
    job_id = submit_labelled(client, LABELS).json()["id"]
    finish(settings, job_id, tmp_path)
    assert client.delete(f"/jobs/{job_id}").status_code == 204
    with transaction(settings) as session:
        assert session.scalars(select(JobLabel)).all() == []


def test_other_labels_are_another_request(client: TestClient) -> None:
    key = {"Idempotency-Key": '"k"'}
    first, again, other = (submit_labelled(client, labels, key) for labels in (LABELS, LABELS, {"team": "speech"}))
    assert again.json()["id"] == first.json()["id"]
    assert (other.status_code, other.json()["type"]) == (422, "idempotency-key-reused")


BAD_LABELS = [
    {"Team": "vision"},
    {"": "x"},
    {"k" * 64: "x"},
    {"team": "x" * 256},
    {"team": "two\nlines"},
    {"team": "nul\0byte"},
    {"team": "next\x85line"},
    {"team": "line\u2028separator"},
    {"team": "right\u202eto left"},
    {"team": 7},
    {f"k{n}": "" for n in range(17)},
    ["team"],
    "{",
    '{"team": "\\ud800"}',
]


@pytest.mark.parametrize("labels", BAD_LABELS)
def test_what_are_no_labels_is_refused(embedded_client: TestClient, labels: Any) -> None:
    answer = submit_labelled(embedded_client, labels)
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-labels")


def test_labels_are_small(embedded_client: TestClient) -> None:
    answer = submit_labelled(embedded_client, {"team": "x" * 70_000})
    assert (answer.status_code, answer.json()["type"]) == (413, "labels-too-large")


def test_labels_at_the_limits_are_taken(client: TestClient) -> None:
    labels = {f"{n:02}" + "k" * 61: "ü" * 255 for n in range(16)}
    assert submit_labelled(client, labels).json()["labels"] == labels
    key, value = next(iter(labels.items()))
    assert len(found(client, f"{key}={value}")) == 1


@pytest.mark.parametrize("label", ["team", "=vision", "Team=vision", "team=" + "x" * 256, "team=nul\0byte"])
def test_what_is_no_label_is_refused_in_a_list(embedded_client: TestClient, label: str) -> None:
    answer = embedded_client.get("/jobs", params={"label": label})
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-label")
    assert "?label=key=value" in answer.json()["detail"]


def test_a_label_that_is_said_twice_is_one() -> None:
    assert parse_wanted(["a=b", "a=b", "c="]) == [Label("a", "b"), Label("c", "")]
    with pytest.raises(Problem):
        parse_wanted(["a"])


def test_the_index_leads_to_labelled_jobs_in_their_order(embedded_client: TestClient, embedded: Settings) -> None:
    seen: list[tuple[str, Any]] = []
    with transaction(embedded) as session:
        connection = session.connection()
        event.listen(connection, "before_cursor_execute", lambda *sent: seen.append(sent[2:4]))
        wanted = [Label("team", "vision"), Label("model", "a")]
        JobRepository(session).page("default", labels=wanted, before="job_9", limit=20)
        statement, parameters = seen[-1]
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    assert "job_labels_tenant_key_value_job_id_idx" in plan[0]
    assert not any("TEMP B-TREE" in line for line in plan)
