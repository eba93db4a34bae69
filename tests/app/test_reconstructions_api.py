import hashlib
import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from app.access.caller import Scope
from app.access.service import ApiKeyService
from app.jobs.repository import JobRepository
from app.settings import Settings
from app.storage.folder import FolderStore
from tests.app.conftest import serving, stored_files, submit
from tests.app.routes.test_authentication import bearer
from tests.conftest import EXAMPLE, ROOT, transaction
from tests.dataset_files import small_file
from tests.encoding_files import changed

CONTENT = (ROOT / "tests" / "golden" / "quantized-v4.nern").read_bytes()
OTHER = (ROOT / "tests" / "golden" / "predictor-v4.nern").read_bytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BOTH = (Scope.READ, Scope.WRITE)


def reconstruct(
    client: TestClient, content: bytes = CONTENT, headers: dict[str, str] | None = None, **data: Any
) -> httpx2.Response:
    """Send a `.nern` file in a form."""
    documents = {name: json.dumps(value) for name, value in data.items()}
    return client.post("/reconstructions", files={"encoding": content}, data=documents, headers=headers)


def finish(settings: Settings, job_id: str, results: dict[str, bytes]) -> None:
    """Do the work of a worker for a succeeding reconstruction."""
    store, artifacts = FolderStore(settings.artifacts), {}
    for name, content in results.items():
        with store.writer() as writer:
            writer.write(content)
            artifacts[name] = writer.commit().described()
    with transaction(settings) as session:
        claim = JobRepository(session).claim(job_id, timedelta(seconds=30))
        assert claim is not None
        assert JobRepository(session).succeed(claim, None, artifacts)


def test_an_encoding_submitted_as_a_checkpoint_is_refused_with_where_to_send_it(client: TestClient) -> None:
    answer = submit(client, checkpoint=CONTENT)
    assert (answer.status_code, answer.json()["type"]) == (422, "already-encoded")
    assert answer.json()["detail"] == (
        "This is a .nern file already, not a checkpoint; "
        "`nern reconstruct` (POST /reconstructions) makes weights of it."
    )


def test_an_encoding_is_accepted_at_checkpoints_for_reconstructions_to_name(client: TestClient) -> None:
    assert client.post("/checkpoints", content=CONTENT).status_code == 201
    assert client.post("/reconstructions", json={"encoding": {"sha256": SHA256}}).status_code == 202


def test_a_checkpoint_submitted_as_an_encoding_is_refused_with_where_to_send_it(client: TestClient) -> None:
    answer = reconstruct(client, EXAMPLE.read_bytes())
    assert (answer.status_code, answer.json()["type"]) == (422, "not-an-encoding")
    assert answer.json()["detail"] == (
        "The file is a checkpoint without `nern` metadata, not a .nern file; "
        "`nern encode` (POST /jobs) makes a .nern file of it."
    )


def test_an_encoding_is_accepted_as_a_job_like_others(client: TestClient, settings: Settings) -> None:
    answer = reconstruct(client, labels={"team": "vision"})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/jobs/{job['id']}" == job["links"]["self"]
    assert (job["kind"], job["status"], job["labels"]) == ("reconstruction", "queued", {"team": "vision"})
    assert job["encoding"] == {"bytes": len(CONTENT), "sha256": SHA256}
    assert (job["checkpoint"], job["options"], job["metrics"]) == (None, None, None)
    assert FolderStore(settings.artifacts).path(SHA256).read_bytes() == CONTENT
    assert client.get(job["links"]["self"]).json() == job
    assert client.get("/jobs", params={"label": "team=vision"}).json()["items"] == [job]
    encoding = submit(client).json()
    assert client.get("/jobs?kind=reconstruction").json()["items"] == [job]
    assert [found["id"] for found in client.get("/jobs?kind=encoding").json()["items"]] == [encoding["id"]]
    assert client.post(job["links"]["cancel"]).json()["status"] == "canceled"
    assert client.delete(job["links"]["self"]).status_code == 204


def test_an_encoding_says_that_it_is_one(client: TestClient) -> None:
    job = submit(client).json()
    assert (job["kind"], job["encoding"]) == ("encoding", None)


def test_the_weights_are_what_can_be_downloaded(client: TestClient, settings: Settings) -> None:
    job = reconstruct(client).json()
    finish(settings, job["id"], {"weights.safetensors": b"safetensors", "weights.pt": b"torch"})
    ended = client.get(job["links"]["self"]).json()
    assert (ended["status"], ended["metrics"], ended["message"]) == (
        "succeeded",
        None,
        "The results can be downloaded.",
    )
    found = [client.get(ended["artifacts"][name]["url"]).content for name in ("weights.safetensors", "weights.pt")]
    assert found == [b"safetensors", b"torch"]
    for other in ("encoding", "report", "importance", "artifacts/report.html"):
        answer = client.get(f"{job['links']['self']}/{other}")
        assert (answer.status_code, answer.json()["type"]) == (404, "no-such-result"), other


def test_a_running_one_says_what_is_done(client: TestClient, settings: Settings) -> None:
    job = reconstruct(client).json()
    with transaction(settings) as session:
        assert JobRepository(session).claim(job["id"], timedelta(seconds=30)) is not None
    assert client.get(job["links"]["self"]).json()["message"] == "A worker is reconstructing the weights."


DAMAGED: list[tuple[bytes, str]] = [
    (b"", "not-an-encoding"),
    (EXAMPLE.read_bytes(), "not-an-encoding"),
    (small_file(), "not-an-encoding"),
    (b"PK\x03\x04 and so on", "not-an-encoding"),
    (CONTENT[:-1], "not-an-encoding"),
    (CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), "bad-encoding"),
    (CONTENT.replace(b'\\"format_version\\":4', b'\\"format_version\\":3'), "unsupported-version"),
]


@pytest.mark.parametrize(("content", "slug"), DAMAGED)
def test_what_is_no_whole_encoding_is_refused_and_not_kept(
    embedded_client: TestClient, embedded: Settings, content: bytes, slug: str
) -> None:
    answer = reconstruct(embedded_client, content)
    assert (answer.status_code, answer.json()["type"]) == (422, slug)
    assert answer.json()["detail"].startswith("The file ")
    assert stored_files(embedded) == []
    assert embedded_client.get("/jobs").json()["items"] == []


@pytest.mark.parametrize(
    ("files", "data", "slug"),
    [
        ({"checkpoint": CONTENT}, {}, "unexpected-part"),
        ({"encoding": CONTENT}, {"options": "{}"}, "unexpected-part"),
        ({"encoding": CONTENT}, {"labels": "[]"}, "invalid-labels"),
        ({"encoding": CONTENT}, {"webhook": '{"url": "http://127.0.0.1/"}'}, "refused-address"),
    ],
)
def test_a_form_that_does_not_fit_is_explained(
    embedded_client: TestClient, embedded: Settings, files: Any, data: dict[str, str], slug: str
) -> None:
    answer = embedded_client.post("/reconstructions", files=files, data=data)
    assert (answer.status_code, answer.json()["type"]) == (422, slug)


def test_a_form_without_a_file_is_told_how_to_send_one(embedded_client: TestClient) -> None:
    answer = embedded_client.post("/reconstructions", files={"labels": (None, "{}")})
    assert (answer.status_code, answer.json()["type"]) == (422, "missing-encoding")
    assert "curl -F encoding=@model.nern .../reconstructions" in answer.json()["detail"]
    answer = embedded_client.post("/reconstructions", content=CONTENT)
    assert (answer.status_code, answer.json()["type"]) == (415, "not-a-form")


def test_a_document_may_name_an_encoding_that_was_sent_before(client: TestClient) -> None:
    client.post("/checkpoints", content=CONTENT)
    answer = client.post("/reconstructions", json={"encoding": {"sha256": SHA256}, "labels": {"team": "vision"}})
    assert answer.status_code == 202
    assert (answer.json()["encoding"]["sha256"], answer.json()["labels"]) == (SHA256, {"team": "vision"})


@pytest.mark.parametrize(
    ("document", "slug", "sentence"),
    [
        ({}, "invalid-job", 'send {"encoding": {"sha256": "…"}}'),
        ({"encoding": {"sha256": SHA256}, "options": {}}, "invalid-job", "options: there is no such field."),
        ({"encoding": {"sha256": SHA256}}, "unknown-checkpoint", "There is no file of yours"),
        ({"encoding": {"url": "http://127.0.0.1/x"}}, "refused-address", "encoding.url: "),
    ],
)
def test_a_document_that_does_not_fit_is_explained(
    embedded_client: TestClient, document: dict[str, Any], slug: str, sentence: str
) -> None:
    answer = embedded_client.post("/reconstructions", json=document)
    assert (answer.status_code, answer.json()["type"]) == (422, slug)
    assert sentence in answer.json()["detail"]


def test_a_document_that_names_a_checkpoint_is_refused(embedded_client: TestClient) -> None:
    sha256 = embedded_client.post("/checkpoints", content=EXAMPLE.read_bytes()).json()["sha256"]
    answer = embedded_client.post("/reconstructions", json={"encoding": {"sha256": sha256}})
    assert (answer.status_code, answer.json()["type"]) == (422, "not-an-encoding")


def test_a_key_makes_one_job_of_one_kind(client: TestClient) -> None:
    key = {"Idempotency-Key": '"k"'}
    first, again = (reconstruct(client, headers=key) for _ in range(2))
    assert again.json()["id"] == first.json()["id"]
    client.post("/checkpoints", content=CONTENT)
    by_document = client.post("/reconstructions", json={"encoding": {"sha256": SHA256}}, headers=key)
    assert by_document.json()["id"] == first.json()["id"]
    for other in (reconstruct(client, OTHER, headers=key), submit(client, headers=key)):
        assert (other.status_code, other.json()["type"]) == (422, "idempotency-key-reused")


def test_an_encoding_over_the_limit_is_refused(embedded: Settings) -> None:
    small = embedded.model_copy(update={"max_upload_bytes": 1000})
    with serving(small) as client:
        answer = reconstruct(client)
    assert (answer.status_code, answer.json()["type"]) == (413, "encoding-too-large")
    assert stored_files(small) == []


@pytest.fixture
def of_tenants(with_keys: Settings, keys: ApiKeyService) -> Iterator[TestClient]:
    with serving(with_keys.model_copy(update={"max_active_jobs": 1})) as client:
        yield client


def test_reconstructions_are_their_tenants_and_count_among_its_jobs(
    of_tenants: TestClient, keys: ApiKeyService
) -> None:
    acme, rival = (bearer(keys.create(tenant, BOTH).reveal()) for tenant in ("acme", "rival"))
    of_tenants.post("/checkpoints", content=OTHER, headers=acme)
    job = reconstruct(of_tenants, headers=acme).json()
    assert of_tenants.get(job["links"]["self"], headers=rival).status_code == 404
    named = {"encoding": {"sha256": hashlib.sha256(OTHER).hexdigest()}}
    assert of_tenants.post("/reconstructions", json=named, headers=rival).json()["type"] == "unknown-checkpoint"
    assert submit(of_tenants, headers=acme).json()["type"] == "too-many-jobs"


def test_a_reading_key_reconstructs_nothing(of_tenants: TestClient, keys: ApiKeyService) -> None:
    reader = bearer(keys.create("acme", [Scope.READ]).reveal())
    answer = reconstruct(of_tenants, headers=reader)
    assert (answer.status_code, answer.json()["type"]) == (403, "missing-scope")


@pytest.fixture
def bomb(tmp_path: Path) -> bytes:
    """A small `.nern` file that decodes to half a gigabyte in each format."""

    def add_constant(contents: dict[str, Any]) -> None:
        contents["kept"].append({"name": "huge", "shape": [2**27], "dtype": "float32", "constant": 0.0})
        contents["document"]["tensor_order"].append("huge")

    return changed(ROOT / "tests" / "golden" / "quantized-v4.nern", tmp_path / "bomb.nern", add_constant).read_bytes()


def test_results_beyond_the_quota_are_refused_before_they_are_made(
    with_keys: Settings, keys: ApiKeyService, bomb: bytes
) -> None:
    with serving(with_keys.model_copy(update={"max_stored_bytes": 2**30})) as client:
        client.headers.update(bearer(keys.create("acme", BOTH).reveal()))
        refused = reconstruct(client, bomb)
        assert (refused.status_code, refused.json()["type"]) == (429, "storage-full")
        assert stored_files(with_keys) == []
        assert reconstruct(client).status_code == 202


@pytest.mark.parametrize(
    "shape", [[2**20, 2**20, 3, 3], [2**62, 1, 1], [10**4000] * 300], ids=["large", "huge", "long"]
)
def test_sizes_that_no_file_can_have_are_damage_and_not_a_lack_of_room(
    embedded: Settings, tmp_path: Path, shape: list[int]
) -> None:
    def declare(contents: dict[str, Any]) -> None:
        contents["document"]["layers"][0].update(shape=shape)

    content = changed(ROOT / "tests" / "golden" / "quantized-v4.nern", tmp_path / "x.nern", declare).read_bytes()
    with serving(embedded) as client:
        refused = reconstruct(client, content)
    assert (refused.status_code, refused.json()["type"]) == (422, "bad-encoding")


def test_results_for_which_the_disk_has_no_room_are_refused(
    embedded: Settings, bomb: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(embedded.data_dir)._replace(free=int(embedded.disk_reserve) + 2**30)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with serving(embedded) as client:
        refused = reconstruct(client, bomb)
        assert (refused.status_code, refused.json()["type"]) == (507, "disk-full")
        assert stored_files(embedded) == []
        assert reconstruct(client).status_code == 202
