import time

import pytest

from app.settings import Settings
from nern_client import (
    Client,
    JobStatus,
    NernClientError,
    NotFound,
    Retries,
    ServerError,
    ServerUnreachable,
    TooManyRequests,
    UnexpectedAnswer,
)
from tests.conftest import EXAMPLE
from tests.nern_client.conftest import QUICK, succeed
from tests.nern_client.wire import Wire, lose_answer, nothing_wrong, refuse, reset

BUSY = refuse("503 Service Unavailable", "Retry-After: 0")
NOT_HERE = "http://127.0.0.1:9"


def test_a_lost_answer_to_a_submission_makes_no_second_job(client: Client, wire: Wire) -> None:
    wire.harm("POST /jobs", lose_answer, BUSY, lose_answer, reset)
    job = client.jobs.create(EXAMPLE)
    assert [found.id for found in client.jobs.list()] == [job.id]
    assert wire.seen.count("POST /jobs") == 5
    keys = {line for head in wire.heads for line in head.splitlines() if line.startswith("idempotency-key:")}
    assert len(keys) == 1


def test_two_calls_with_one_key_make_one_job_and_without_a_key_two(client: Client) -> None:
    keyed = {client.jobs.create(EXAMPLE, idempotency_key="mine").id for _ in range(2)}
    unkeyed = {client.jobs.create(EXAMPLE).id for _ in range(2)}
    assert (len(keyed), len(unkeyed)) == (1, 2)


@pytest.mark.parametrize("fault", [reset, lose_answer, BUSY, refuse("502 Bad Gateway"), refuse("504 Gateway Timeout")])
def test_reading_canceling_and_uploading_are_tried_again(client: Client, wire: Wire, fault: object) -> None:
    for request in ("GET /checkpoints", "POST /checkpoints", "GET /jobs/", "POST /jobs/"):
        wire.harm(request, fault, fault)  # type: ignore[arg-type] # a fault
    job = client.jobs.create(EXAMPLE)
    assert client.jobs.get(job.id) == job
    assert client.jobs.cancel(job.id).status is JobStatus.CANCELED
    assert wire.faults == []


def test_a_job_whose_deletion_was_not_heard_of_is_deleted(client: Client, wire: Wire, served: Settings) -> None:
    job = client.jobs.create(EXAMPLE)
    succeed(served, job.id, {})
    wire.harm("DELETE", lose_answer)
    client.jobs.delete(job.id)
    assert list(client.jobs.list()) == []
    with pytest.raises(NotFound):
        client.jobs.delete(job.id)


def test_the_server_says_when_to_come_back(wire: Wire) -> None:
    begun = time.monotonic()
    with Client(wire.url, retries=Retries(first_pause=0.01, longest_wait=2)) as client:
        wire.harm("GET /jobs", refuse("429 Too Many Requests", "Retry-After: 1"))
        assert list(client.jobs.list()) == []
        assert time.monotonic() - begun >= 1
        wire.harm("GET /jobs", refuse("429 Too Many Requests", "Retry-After: 3"))
        with pytest.raises(TooManyRequests) as caught:
            list(client.jobs.list())
    assert caught.value.retry_after == 3
    assert wire.seen == ["GET /jobs?limit=100"] * 3


def test_other_errors_are_not_tried_again(client: Client, wire: Wire) -> None:
    wire.harm("GET /jobs", refuse("500 Internal Server Error", body="<h1>Oops</h1>"), nothing_wrong)
    with pytest.raises(ServerError, match=r"answered 500 \(Internal Server Error\) without details") as caught:
        list(client.jobs.list())
    assert (caught.value.type, len(wire.seen)) == ("no-problem-document", 1)


def test_patience_ends(client: Client, wire: Wire) -> None:
    wire.harm("GET /jobs", nothing_wrong, *[reset] * 30)
    assert list(client.jobs.list()) == []
    with pytest.raises(ServerUnreachable, match=f"{wire.url} does not answer"):
        list(client.jobs.list())
    assert len(wire.seen) == 1 + QUICK.attempts


def test_a_server_that_never_answered_is_given_up_soon(wire: Wire) -> None:
    wire.harm("GET /jobs", *[reset] * 30)
    with Client(wire.url, retries=QUICK) as client, pytest.raises(ServerUnreachable):
        list(client.jobs.list())
    assert len(wire.seen) == QUICK.first_attempts
    with Client(NOT_HERE, retries=QUICK) as client, pytest.raises(ServerUnreachable, match=NOT_HERE):
        client.jobs.get("job_1")


def test_a_limit_that_time_does_not_lift_is_told_at_once(client: Client, wire: Wire) -> None:
    wire.harm("POST /jobs", refuse("429 Too Many Requests"))
    with pytest.raises(TooManyRequests):
        client.jobs.create(EXAMPLE)
    assert wire.seen.count("POST /jobs") == 1


def test_a_redirection_is_told_and_not_followed(client: Client, wire: Wire) -> None:
    wire.harm("GET /jobs", refuse("308 Permanent Redirect", "Location: https://nern.example/jobs"))
    with pytest.raises(UnexpectedAnswer, match="redirects to https://nern.example/jobs; use that address"):
        list(client.jobs.list())


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "404 Not Found", "409 Conflict"])
def test_an_error_page_of_another_server_is_no_answer_of_a_service(client: Client, wire: Wire, status: str) -> None:
    wire.harm("GET /jobs", refuse(status, "Content-Type: text/html", body="<h1>No</h1>"))
    with pytest.raises(UnexpectedAnswer) as caught:
        list(client.jobs.list())
    assert str(caught.value) == (
        f"The server at {wire.url} answered {status[:3]} ({status[4:]}), but not as a NeRN service does. "
        "Check the address."
    )


@pytest.mark.parametrize("content_type", ["text/html", "application/json"])
def test_only_problem_documents_are_errors_of_the_service(client: Client, wire: Wire, content_type: str) -> None:
    problem = '{"type": "unknown-job", "title": "Not Found", "detail": "There is no such job."}'
    wire.harm("GET /jobs", refuse("404 Not Found", f"Content-Type: {content_type}", body=problem))
    with pytest.raises(UnexpectedAnswer):
        client.jobs.get("job_1")


@pytest.mark.parametrize("body", ["<h1>Welcome</h1>", "{}", '{"items": [{"id": 7}]}'])
def test_what_is_no_service_of_this_kind_is_told(client: Client, wire: Wire, body: str) -> None:
    wire.harm("GET /jobs", refuse("200 OK", body=body))
    with pytest.raises(UnexpectedAnswer, match=f"The server at {wire.url} is not a NeRN service"):
        list(client.jobs.list())


@pytest.mark.parametrize("key", ["", 'a"b', "a\\b", "é", "a\nb", "x" * 256])
def test_an_idempotency_key_that_is_none_is_refused_before_anything_is_sent(
    client: Client, wire: Wire, key: str
) -> None:
    with pytest.raises(NernClientError, match="The idempotency key must be 1 to 255 printable ASCII characters"):
        client.jobs.create(EXAMPLE, idempotency_key=key)
    assert wire.seen == []


def test_every_key_that_is_one_is_taken(client: Client) -> None:
    assert client.jobs.create(EXAMPLE, idempotency_key=" !#$%&'()*+,-./:;<=>?@[]^_`{|}~").status is JobStatus.QUEUED
