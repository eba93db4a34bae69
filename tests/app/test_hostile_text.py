"""Invalid texts for names, ids and cursors: the API refuses them itself, on either database."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from starlette.testclient import TestClient

from app.settings import Settings
from tests.app.conftest import serving, submit
from tests.app.routes.test_authentication import operations

pytestmark = pytest.mark.both_modes

NUL, CONTROL, RIGHT_TO_LEFT, SURROGATE, LONG = "%00", "%01%1b%5b2J", "%E2%80%AEjob", "%ED%A0%80", "x" * 8000
HOSTILE = [NUL, f"job_{NUL}", CONTROL, RIGHT_TO_LEFT, SURROGATE, LONG, "job_%0A", "%F0%9F%92%A9", "job_g"]
HEADERS = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """The API in this process, in both modes: PostgreSQL refuses texts that SQLite takes."""
    with serving(settings) as client:
        yield client


def test_a_text_that_is_no_id_names_nothing(client: TestClient) -> None:
    addressed = [(method, path) for method, path in operations(client) if "{" in path]
    assert len(addressed) >= 12
    for text in HOSTILE:
        for method, path in addressed:
            address = path.format(job_id=text, name=text, sha256=text, upload_id=text)
            answer = client.request(method, address, headers=HEADERS)
            assert answer.status_code in {404, 422}, (method, path, text, answer.text)


@pytest.mark.parametrize(
    "address", ["/jobs?cursor={}", "/jobs?label={}", "/datasets?name={}", "/?cursor={}", "/view/{}", "/new?like={}"]
)
def test_a_text_that_is_no_parameter_is_refused(client: TestClient, address: str) -> None:
    method = "POST" if address.startswith("/datasets") else "GET"
    for text in HOSTILE:
        answer = client.request(method, address.format(text), content=b"")
        assert answer.status_code in {404, 422}, (text, answer.text)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=strategies.text(strategies.characters(codec="utf-8"), min_size=1, max_size=300))
def test_whatever_text_stands_for_an_id_the_answer_is_a_problem(client: TestClient, text: str) -> None:
    quoted = quote(text, safe="")
    for address in (f"/jobs/{quoted}", f"/jobs/{quoted}/events", f"/jobs?cursor={quoted}"):
        assert client.get(address).status_code in {200, 404, 422}, address


def test_hostile_texts_of_a_document_are_refused(client: TestClient) -> None:
    for text in ("\x00", "\ud800", "\u202e", "\x1b[2J", "x" * 50_000):
        for part in (
            {"options": {"architecture": text}},
            {"options": {"kernels": [text]}},
            {"options": {"dataset": text, "architecture": "digits-cnn"}},
            {"options": {text: 1}},
            {"labels": {"team": text}},
            {"labels": {text: "vision"}},
            {"webhook": {"url": f"https://127.0.0.1/{text}"}},
        ):
            content = json.dumps({"checkpoint": {"sha256": "0" * 64}} | part)
            answer = client.post("/jobs", content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code == 422, (part, answer.text)


def test_an_idempotency_key_with_other_characters_is_refused(client: TestClient) -> None:
    for key in (b"a\x01b", b"\xed\xa0\x80", b"k" * 256):
        answer = client.post("/jobs", json={}, headers={b"Idempotency-Key": key})
        assert answer.json()["type"] == "invalid-idempotency-key"


def test_hostile_text_leaves_the_polls_of_others_alone(client: TestClient) -> None:
    job = submit(client, json.dumps({"steps": 1})).json()
    for text in HOSTILE:
        client.get(f"/jobs/{text}")
        assert client.get(f"/jobs/{job['id']}").status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        {"checkpoint": {"sha256": "0" * 64}, "options": {f"o{number}": 1 for number in range(6000)}},
        {"checkpoint": {"sha256": "0" * 64}, "options": {"kernels": [1] * 20_000}},
        {"checkpoint": {"sha256": "0" * 64}, "labels": {f"L{number}": "x" for number in range(6000)}},
        {f"part{number}": 1 for number in range(6000)},
        {"checkpoint": {"sha256": "0" * 64}, "options": {"x" * 50_000: 1}},
    ],
    ids=["options", "kernels", "labels", "parts", "long"],
)
def test_a_document_with_many_faults_has_a_short_answer(embedded_client: TestClient, content: Any) -> None:
    answer = embedded_client.post("/jobs", json=content)
    assert answer.status_code == 422
    assert len(answer.content) < 10_000


def test_many_query_parameters_have_a_short_answer(embedded_client: TestClient) -> None:
    answer = embedded_client.get("/jobs?" + "&".join(f"status=s{number}" for number in range(5000)))
    assert answer.status_code == 422
    assert len(answer.content) < 10_000
