import base64
import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db.transactions import current_time
from app.settings import Settings
from app.storage.folder import FolderStore
from app.uploads.models import Upload
from app.uploads.repository import UploadRepository
from tests.app.conftest import serving, stored_files, submit
from tests.conftest import EXAMPLE, transaction

CONTENT = EXAMPLE.read_bytes()
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def content_digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def test_an_uploaded_checkpoint_is_stored_and_can_be_found(client: TestClient, settings: Settings) -> None:
    answer = client.post("/checkpoints", content=CONTENT, headers={"Content-Digest": content_digest(CONTENT)})
    assert answer.status_code == 201
    assert (answer.json()["sha256"], answer.json()["bytes"]) == (DIGEST, len(CONTENT))
    assert client.get(answer.headers["Location"]).json() == answer.json()
    assert FolderStore(settings.artifacts).path(DIGEST).read_bytes() == CONTENT


def test_a_body_without_a_length_is_taken_too(embedded_client: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for start in range(0, len(CONTENT), 1000):
            yield CONTENT[start : start + 1000]

    assert embedded_client.post("/checkpoints", content=pieces()).json()["sha256"] == DIGEST


@pytest.mark.parametrize(
    "others", ["sha-512=:AAAA:, {}", "{}, sha-512=:AAAA:"], ids=["after another one", "before another one"]
)
def test_the_sha_256_is_found_beside_other_digests(embedded_client: TestClient, others: str) -> None:
    headers = {"Content-Digest": others.format(content_digest(CONTENT))}
    assert embedded_client.post("/checkpoints", content=CONTENT, headers=headers).status_code == 201


def test_another_body_than_was_announced_is_refused_and_not_kept(client: TestClient, settings: Settings) -> None:
    answer = client.post("/checkpoints", content=CONTENT, headers={"Content-Digest": content_digest(b"other")})
    assert (answer.status_code, answer.json()["type"]) == (422, "digest-mismatch")
    assert DIGEST in answer.json()["detail"]
    assert stored_files(settings) == []
    assert client.get(f"/checkpoints/{DIGEST}").status_code == 404


@pytest.mark.parametrize(
    "header",
    ["", "sha-512=:AAAA:", "sha-256=:AAAA:", "sha-256=AAAA", f"sha-256={DIGEST}", "sha-256=:====:", "x" * 1001],
)
def test_a_content_digest_that_cannot_be_checked_is_refused(
    embedded_client: TestClient, embedded: Settings, header: str
) -> None:
    answer = embedded_client.post("/checkpoints", content=CONTENT, headers={"Content-Digest": header})
    assert (answer.status_code, answer.json()["type"]) == (400, "invalid-digest")
    assert stored_files(embedded) == []


def test_an_encoded_body_is_refused(embedded_client: TestClient) -> None:
    answer = embedded_client.post("/checkpoints", content=CONTENT, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["type"]) == (415, "encoded-body")


def test_what_is_no_checkpoint_is_refused_and_not_kept(embedded_client: TestClient, embedded: Settings) -> None:
    answer = embedded_client.post("/checkpoints", content=b"not a checkpoint at all")
    assert (answer.status_code, answer.json()["type"]) == (422, "not-a-checkpoint")
    assert stored_files(embedded) == []


def test_an_upload_over_the_limit_is_refused_by_its_length_and_by_count(embedded: Settings) -> None:
    small = embedded.model_copy(update={"max_upload_bytes": 1000})
    with serving(small) as client:
        declared = client.post("/checkpoints", content=bytes(1001))
        counted = client.post("/checkpoints", content=iter([bytes(600), bytes(600)]))
    assert [(answer.status_code, answer.json()["type"]) for answer in (declared, counted)] == [
        (413, "checkpoint-too-large")
    ] * 2
    assert stored_files(small) == []


def test_a_job_may_name_an_uploaded_checkpoint(client: TestClient) -> None:
    client.post("/checkpoints", content=CONTENT)
    answer = client.post("/jobs", json={"checkpoint": {"sha256": DIGEST}, "options": {"steps": 10}})
    assert answer.status_code == 202
    job = answer.json()
    assert job["checkpoint"] == {"bytes": len(CONTENT), "sha256": DIGEST}
    assert (job["status"], job["options"]["steps"]) == ("queued", 10)
    assert answer.headers["Location"] == f"/jobs/{job['id']}"


def test_a_form_and_a_document_of_the_same_are_one_request(client: TestClient) -> None:
    key = {"Idempotency-Key": '"k"'}
    client.post("/checkpoints", content=CONTENT)
    by_form = client.post("/jobs", files={"checkpoint": CONTENT}, data={"options": '{"steps": 10}'}, headers=key)
    document = {"checkpoint": {"sha256": DIGEST}, "options": {"steps": 10}}
    assert client.post("/jobs", json=document, headers=key).json()["id"] == by_form.json()["id"]


def test_a_job_may_name_only_what_its_tenant_has_sent(client: TestClient, settings: Settings) -> None:
    with transaction(settings) as session:
        UploadRepository(session).add("another tenant", DIGEST, len(CONTENT), timedelta(days=1))
    unknown = [
        client.post("/jobs", json={"checkpoint": {"sha256": DIGEST}}),
        client.post("/jobs", json={"checkpoint": {"sha256": "0" * 64}}),
    ]
    assert [(answer.status_code, answer.json()["type"]) for answer in unknown] == [(422, "unknown-checkpoint")] * 2
    assert unknown[0].json()["detail"] == unknown[1].json()["detail"]
    assert client.get(f"/checkpoints/{DIGEST}").status_code == 404
    assert client.delete(f"/checkpoints/{DIGEST}").status_code == 404


def test_naming_a_checkpoint_keeps_it_for_another_while(client: TestClient, settings: Settings) -> None:
    client.post("/checkpoints", content=CONTENT)
    with transaction(settings) as session:
        session.scalars(select(Upload)).one().expires_at = current_time(session) + timedelta(seconds=60)
    client.post("/jobs", json={"checkpoint": {"sha256": DIGEST}})
    expires_at = datetime.fromisoformat(client.get(f"/checkpoints/{DIGEST}").json()["expires_at"])
    with transaction(settings) as session:
        assert expires_at - current_time(session) > settings.keep_uploads - timedelta(minutes=1)


def test_an_expired_checkpoint_is_unknown(client: TestClient, settings: Settings) -> None:
    client.post("/checkpoints", content=CONTENT)
    with transaction(settings) as session:
        upload = session.scalars(select(Upload)).one()
        upload.expires_at = upload.created_at
    assert client.get(f"/checkpoints/{DIGEST}").status_code == 404
    assert client.post("/jobs", json={"checkpoint": {"sha256": DIGEST}}).status_code == 422


def test_a_checkpoint_that_the_disk_has_lost_is_to_be_sent_again(client: TestClient, settings: Settings) -> None:
    client.post("/checkpoints", content=CONTENT)
    FolderStore(settings.artifacts).path(DIGEST).unlink()
    answer = client.post("/jobs", json={"checkpoint": {"sha256": DIGEST}})
    assert (answer.status_code, answer.json()["type"]) == (422, "unknown-checkpoint")
    assert "send it to POST /checkpoints" in answer.json()["detail"]


def test_a_deleted_checkpoint_is_gone_and_its_jobs_are_not(client: TestClient, settings: Settings) -> None:
    client.post("/checkpoints", content=CONTENT)
    job = client.post("/jobs", json={"checkpoint": {"sha256": DIGEST}}).json()
    answers = [client.delete(f"/checkpoints/{DIGEST}").status_code for _ in range(2)]
    assert answers == [204, 404]
    assert client.get(job["links"]["self"]).json()["status"] == "queued"
    assert FolderStore(settings.artifacts).path(DIGEST).exists()


def test_a_digest_that_is_too_short_is_told_from_one_that_is_missing(embedded_client: TestClient) -> None:
    details = [
        embedded_client.post("/checkpoints", content=CONTENT, headers={"Content-Digest": header}).json()["detail"]
        for header in ("sha-256=:AAAA:", "sha-512=:AAAA:")
    ]
    how_to = "send it as sha-256=:…: with the digest in base64, or leave it out."
    assert details == [
        f"The SHA-256 in Content-Digest is not 32 bytes in base64: {how_to}",
        f"The Content-Digest has no SHA-256: {how_to}",
    ]


BAD_DOCUMENTS: list[tuple[dict[str, Any], str, str]] = [
    ({"json": {}}, "invalid-job", "checkpoint: this is missing."),
    (
        {"json": {"checkpoint": {"sha256": "../../etc/passwd"}}},
        "invalid-job",
        "checkpoint.sha256: a SHA-256 is 64 hexadecimal",
    ),
    ({"json": {"checkpoint": {"sha256": DIGEST}, "option": {}}}, "invalid-job", "option: there is no such field."),
    (
        {"content": "{", "headers": {"Content-Type": "application/json"}},
        "invalid-job",
        "body: this is not JSON: EOF while parsing",
    ),
    (
        {"json": {"checkpoint": {"sha256": DIGEST}, "options": {"seconds": -1}}},
        "invalid-options",
        "seconds: this must be more than 0.",
    ),
]


@pytest.mark.parametrize(("request_body", "slug", "sentence"), BAD_DOCUMENTS)
def test_a_document_that_does_not_fit_is_explained(
    embedded_client: TestClient, request_body: dict[str, Any], slug: str, sentence: str
) -> None:
    answer = embedded_client.post("/jobs", **request_body)
    assert (answer.status_code, answer.json()["type"]) == (422, slug)
    assert sentence in answer.json()["detail"]


def test_a_document_is_small(embedded_client: TestClient) -> None:
    answer = embedded_client.post("/jobs", json={"checkpoint": {"sha256": DIGEST}, "options": {"x": "x" * 100_000}})
    assert (answer.status_code, answer.json()["type"]) == (413, "body-too-large")


def test_a_job_may_name_the_checkpoint_of_another_job(client: TestClient) -> None:
    first = submit(client).json()
    named = {"checkpoint": {"sha256": first["checkpoint"]["sha256"]}}
    second = client.post("/jobs", json=named)
    assert (second.status_code, second.json()["checkpoint"]) == (202, first["checkpoint"])
    for job in (first, second.json()):
        client.post(job["links"]["cancel"])
        client.delete(job["links"]["self"])
    assert client.post("/jobs", json=named).json()["type"] == "unknown-checkpoint"
