import io
import shutil
import threading
import time
from pathlib import Path

import pytest

from app.jobs.events.models import EventKind
from app.jobs.events.repository import EventRepository
from app.settings import Settings
from nern_client import (
    Client,
    Conflict,
    InvalidRequest,
    Job,
    JobCanceled,
    JobFailed,
    JobStatus,
    NotFound,
    WaitTimeout,
    job_operations,
)
from tests.conftest import EXAMPLE, transaction
from tests.nern_client.conftest import claim, fail, succeed
from tests.nern_client.wire import Wire


def test_a_job_is_made_of_a_checkpoint_that_is_sent_once(client: Client, wire: Wire) -> None:
    job = client.jobs.create(EXAMPLE, steps=10, hidden_size=16)
    assert (job.kind, job.status) == ("encoding", JobStatus.QUEUED)
    assert job.checkpoint is not None
    assert job.checkpoint.bytes == EXAMPLE.stat().st_size
    assert job.options is not None
    assert (job.options["steps"], job.options["hidden_size"]) == (10, 16)
    with EXAMPLE.open("rb") as file:
        other = client.jobs.create(file, steps=20)
    assert other.checkpoint == job.checkpoint
    assert wire.seen == [
        f"GET /checkpoints/{job.checkpoint.sha256}",
        "POST /checkpoints",
        "POST /jobs",
        f"GET /checkpoints/{job.checkpoint.sha256}",
        "POST /jobs",
    ]


def test_a_job_is_called_by_its_file_however_that_is_given(client: Client) -> None:
    assert client.jobs.create(EXAMPLE, steps=1).name == EXAMPLE.name
    with EXAMPLE.open("rb") as file:
        assert client.jobs.create(file, steps=1).name == EXAMPLE.name
    assert client.jobs.create(client.checkpoints.upload(EXAMPLE), steps=1).name == EXAMPLE.name


def test_a_job_of_bytes_in_memory_that_were_never_sent_under_a_name_has_none(client: Client) -> None:
    assert client.jobs.create(io.BytesIO(EXAMPLE.read_bytes()), steps=1).name is None


def test_an_upload_is_called_by_the_file_that_is_given_now(client: Client, tmp_path: Path) -> None:
    client.checkpoints.upload(EXAMPLE)
    copied = Path(shutil.copy(EXAMPLE, tmp_path / "grö\nßer.safetensors"))
    checkpoint = client.checkpoints.upload(copied)
    assert (checkpoint.name, client.jobs.create(checkpoint, steps=1).name) == ("größer.safetensors",) * 2


def test_an_uploaded_checkpoint_and_bytes_in_memory_make_jobs_too(client: Client) -> None:
    checkpoint = client.checkpoints.upload(io.BytesIO(EXAMPLE.read_bytes()))
    encoded = client.jobs.create(checkpoint).checkpoint
    assert encoded is not None
    assert encoded.sha256 == checkpoint.sha256


def test_events_come_in_their_order_and_after_a_number(client: Client, served: Settings) -> None:
    job = client.jobs.create(EXAMPLE)
    fail(served, job.id)
    events = list(client.jobs.events(job.id))
    assert [(event.number, event.kind) for event in events] == [(1, "queued"), (2, "running"), (3, "failed")]
    assert events[2].data["code"] == "out_of_memory"
    assert list(client.jobs.events(job.id, after=2)) == events[2:]
    assert list(client.jobs.events(job.id, after=3)) == []


def test_more_events_than_a_page_has_are_fetched_as_they_are_needed(
    client: Client, wire: Wire, served: Settings
) -> None:
    job = client.jobs.create(EXAMPLE)
    with transaction(served) as session:
        for number in range(1, 1500):
            EventRepository(session).add(job.id, EventKind.PROGRESS, job.created_at, {"step": number})
    assert [event.number for event in client.jobs.events(job.id)] == list(range(1, 1501))
    pages = [request for request in wire.seen if request.startswith(f"GET /jobs/{job.id}/events")]
    assert [page.partition("?")[2] for page in pages] == ["after=0&limit=1000", "after=1000&limit=1000"]


def test_jobs_are_listed_by_their_labels(client: Client) -> None:
    vision, _ = (client.jobs.create(EXAMPLE, labels={"team": team, "model": "a b=c"}) for team in ("vision", "speech"))
    assert vision.labels == {"team": "vision", "model": "a b=c"}
    assert [job.id for job in client.jobs.list(labels={"team": "vision"})] == [vision.id]
    assert len(list(client.jobs.list(labels={"model": "a b=c"}))) == 2
    assert list(client.jobs.list(labels={"team": "vision", "model": "other"})) == []


def test_a_job_may_have_a_deadline(client: Client) -> None:
    job = client.jobs.create(EXAMPLE, deadline_seconds=60)
    assert job.deadline_at is not None
    assert (job.deadline_at - job.created_at).total_seconds() == 60
    assert client.jobs.create(EXAMPLE).deadline_at is None


def test_an_unknown_job_has_no_events(client: Client) -> None:
    with pytest.raises(NotFound):
        list(client.jobs.events("job_none"))


def test_events_can_be_followed_to_the_end_of_the_job(
    client: Client, served: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_operations, "_SECONDS_BETWEEN_POLLS", 0.05)
    job = client.jobs.create(EXAMPLE)
    seen = []
    for event in client.jobs.events(job.id, follow=True):
        seen.append((event.number, event.kind))
        if event.kind == "queued":
            threading.Timer(0.2, succeed, (served, job.id, {})).start()
    assert seen == [(1, "queued"), (2, "running"), (3, "succeeded")]
    assert list(client.jobs.events(job.id, after=3, follow=True)) == []


def test_a_webhook_that_the_service_refuses_is_a_problem(client: Client) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.jobs.create(EXAMPLE, webhook="http://127.0.0.1/hook")
    assert caught.value.type == "refused-address"


def test_jobs_are_found_listed_and_deleted(client: Client, served: Settings) -> None:
    first, second = (client.jobs.create(EXAMPLE, seed=seed) for seed in range(2))
    succeed(served, first.id, {})
    assert client.jobs.get(second.id) == second
    assert [job.id for job in client.jobs.list()] == [second.id, first.id]
    assert [job.id for job in client.jobs.list(status="succeeded")] == [first.id]
    client.jobs.delete(first.id)
    with pytest.raises(NotFound) as caught:
        client.jobs.get(first.id)
    assert (caught.value.type, caught.value.status) == ("unknown-job", 404)
    assert caught.value.request_id is not None


def test_a_list_goes_over_all_pages(client: Client, wire: Wire) -> None:
    checkpoint = client.checkpoints.upload(EXAMPLE)
    made = [client.jobs.create(checkpoint).id for _ in range(103)]
    assert [job.id for job in client.jobs.list()] == made[::-1]
    assert wire.seen[-2:] == ["GET /jobs?limit=100", f"GET /jobs?limit=100&cursor={made[3]}"]


def test_a_job_is_canceled_as_often_as_one_likes_and_an_ended_one_is_not(client: Client, served: Settings) -> None:
    job, other = client.jobs.create(EXAMPLE), client.jobs.create(EXAMPLE)
    assert [client.jobs.cancel(job.id).status for _ in range(2)] == [JobStatus.CANCELED] * 2
    succeed(served, other.id, {})
    with pytest.raises(Conflict, match="already succeeded"):
        client.jobs.cancel(other.id)


def test_what_the_service_refuses_says_what_is_wrong_with_which_option(client: Client) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.jobs.create(EXAMPLE, hidden_size=2)
    assert caught.value.type == "invalid-options"
    assert [error.field for error in caught.value.problem.errors] == ["hidden_size"]


def test_waiting_tells_every_change_and_ends_with_the_job(client: Client, served: Settings) -> None:
    job = client.jobs.create(EXAMPLE)
    told: list[Job] = []

    def on_update(job: Job) -> None:
        told.append(job)
        if len(told) == 1:
            threading.Timer(0.1, succeed, (served, job.id, {"encoding.nern": b"encoding"})).start()

    ended = client.jobs.wait(job.id, on_update=on_update)
    assert [job.status for job in told] == [JobStatus.QUEUED, JobStatus.SUCCEEDED]
    assert ended == told[-1]
    assert ended.metrics is not None
    assert ended.metrics["ratio"] == 2.0


def test_waiting_for_a_job_without_results_raises_what_became_of_it(client: Client, served: Settings) -> None:
    failed, canceled = client.jobs.create(EXAMPLE), client.jobs.create(EXAMPLE)
    fail(served, failed.id)
    client.jobs.cancel(canceled.id)
    with pytest.raises(JobFailed, match="needs more memory") as caught:
        client.jobs.wait(failed.id)
    assert caught.value.job.error is not None
    assert caught.value.job.error.code == "out_of_memory"
    with pytest.raises(JobCanceled):
        client.jobs.wait(canceled.id)


def test_waiting_ends_in_time_and_the_job_goes_on(client: Client, served: Settings) -> None:
    job = client.jobs.create(EXAMPLE)
    claim(served, job.id)
    begun = time.monotonic()
    with pytest.raises(WaitTimeout, match="is still running; it continues") as caught:
        client.jobs.wait(job.id, timeout=0.3)
    assert 0.3 <= time.monotonic() - begun < 1.5
    assert caught.value.job.status is JobStatus.RUNNING


def test_an_empty_id_is_refused_before_anything_is_asked(client: Client, wire: Wire) -> None:
    for ask in (client.jobs.get, client.jobs.delete, client.jobs.cancel):
        with pytest.raises(ValueError, match="the id or name after /jobs/ must not be empty"):
            ask(" ")
    with pytest.raises(ValueError, match="the id or name after /datasets/ must not be empty"):
        client.datasets.delete("")
    assert wire.seen == []
