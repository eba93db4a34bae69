import json
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from app.jobs.models import Job
from app.jobs.repository import JobRepository
from app.settings import Settings
from tests.conftest import EXAMPLE, transaction


def submit(client: TestClient, deadline: Any, headers: dict[str, str] | None = None) -> Any:
    data = {"deadline_seconds": json.dumps(deadline)}
    return client.post("/jobs", files={"checkpoint": EXAMPLE.read_bytes()}, data=data, headers=headers)


def end_deadlines(settings: Settings) -> None:
    """Let an hour pass, and run the relay."""
    with transaction(settings) as session:
        session.execute(update(Job).values(deadline_at=JobRepository(session).now() - timedelta(seconds=1)))
        JobRepository(session).expire_deadlines()


def test_the_deadline_of_a_form_counts_from_the_submission(client: TestClient) -> None:
    job = submit(client, 3600).json()
    created, deadline = (datetime.fromisoformat(job[name]) for name in ("created_at", "deadline_at"))
    assert deadline - created == timedelta(hours=1)


def test_the_deadline_of_a_document_counts_from_the_submission(client: TestClient) -> None:
    sha256 = client.post("/checkpoints", content=EXAMPLE.read_bytes()).json()["sha256"]
    job = client.post("/jobs", json={"checkpoint": {"sha256": sha256}, "deadline_seconds": 60}).json()
    created, deadline = (datetime.fromisoformat(job[name]) for name in ("created_at", "deadline_at"))
    assert deadline - created == timedelta(minutes=1)


def test_a_job_has_no_deadline_unless_it_is_given_one(client: TestClient) -> None:
    answer = client.post("/jobs", files={"checkpoint": EXAMPLE.read_bytes()})
    assert answer.json()["deadline_at"] is None


@pytest.mark.parametrize("deadline", [0, -5, 1.5, "soon", None, 30 * 86400 + 1])
def test_a_deadline_is_a_number_of_seconds(client: TestClient, deadline: Any) -> None:
    answer = submit(client, deadline)
    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert answer.json()["type"] == "invalid-deadline"
    assert client.get("/jobs").json()["items"] == []


def test_a_job_that_still_waits_when_its_deadline_is_over_fails(client: TestClient, settings: Settings) -> None:
    address = submit(client, 60).json()["links"]["self"]
    end_deadlines(settings)
    job = client.get(address).json()
    assert job["status"] == "failed"
    assert job["error"] == {
        "code": "deadline_exceeded",
        "message": "The deadline passed before a worker was free.",
    }


def test_a_running_job_is_left_to_its_worker(client: TestClient, settings: Settings) -> None:
    job = submit(client, 60).json()
    with transaction(settings) as session:
        claim = JobRepository(session).claim(job["id"], timedelta(seconds=30))
    assert claim is not None
    assert claim.seconds_left == pytest.approx(60, abs=20)
    end_deadlines(settings)
    assert client.get(job["links"]["self"]).json()["status"] == "running"


def test_another_deadline_under_the_same_key_is_another_request(client: TestClient) -> None:
    headers = {"Idempotency-Key": '"mine"'}
    first = submit(client, 60, headers).json()["id"]
    assert submit(client, 60, headers).json()["id"] == first
    assert submit(client, 61, headers).json()["type"] == "idempotency-key-reused"
