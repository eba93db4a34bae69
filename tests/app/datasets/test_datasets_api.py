import hashlib
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from app.datasets import service
from app.settings import Settings
from app.storage.folder import FolderStore
from tests.app.conftest import serving, stored_files, submit
from tests.app.uploads.test_checkpoints_api import content_digest
from tests.app.uploads.test_uploads_api import begin, send
from tests.conftest import DIGITS, EXAMPLE
from tests.dataset_files import SMALL, Claim, digits_file, safetensors_file, small_file

DIGITS_FILE = digits_file()
SHA256 = hashlib.sha256(DIGITS_FILE).hexdigest()
WITH_DATA = {"architecture": "digits-cnn", "dataset": "mine"}


def upload(
    client: TestClient, name: str = "mine", content: bytes = DIGITS_FILE, headers: dict[str, str] | None = None
) -> httpx2.Response:
    return client.post("/datasets", params={"name": name}, content=content, headers=headers)


def upload_in_pieces(client: TestClient, content: bytes) -> None:
    """Send a file to `/uploads`, in two pieces."""
    address = begin(client, hashlib.sha256(content).hexdigest(), len(content)).headers["Location"]
    half = len(content) // 2
    assert [
        send(client, address, 0, content[:half]).status_code,
        send(client, address, half, content[half:]).status_code,
    ] == [204, 204]


def test_an_uploaded_data_set_is_stored_described_and_can_be_found(client: TestClient, settings: Settings) -> None:
    answer = upload(client, headers={"Content-Digest": content_digest(DIGITS_FILE)})
    assert (answer.status_code, answer.headers["Location"]) == (201, "/datasets/mine")
    view = answer.json()
    assert view.pop("created_at")
    assert view == {
        "name": "mine",
        "source": "upload",
        "bytes": len(DIGITS_FILE),
        "sha256": SHA256,
        "train": {"bytes": 1297 * (192 + 8), "images": 1297, "shape": [8, 8, 3]},
        "test": {"bytes": 500 * (192 + 8), "images": 500, "shape": [8, 8, 3]},
        "arrays": None,
        "text_bytes": None,
    }
    assert client.get("/datasets/mine").json() == answer.json()
    assert FolderStore(settings.artifacts).path(SHA256).read_bytes() == DIGITS_FILE


def test_data_sets_are_listed_beside_those_of_the_operator(client: TestClient, settings: Settings) -> None:
    upload(client, "zoo", small_file(1))
    upload(client, "animals", small_file(2))
    listed = client.get("/datasets").json()
    offered = [] if settings.embedded else [("digits", "operator")]
    found = [(item["name"], item["source"]) for item in listed["items"]]
    assert found == [("animals", "upload"), *offered, ("zoo", "upload")]
    assert listed["any_folder"] is settings.embedded


def test_arrays_and_images_without_labels_are_taken_too(client: TestClient) -> None:
    arrays: dict[str, Claim] = {"inputs.ids": ("I64", (5, 7)), "labels": ("I64", (5,))}
    assert upload(client, "words", content=safetensors_file(arrays)).status_code == 201
    images = {name: claim for name, claim in SMALL.items() if name.endswith("images")}
    assert upload(client, "photos", content=safetensors_file(images)).json()["train"]["images"] == 3
    listed = {item["name"]: item for item in client.get("/datasets").json()["items"]}
    assert listed["words"]["arrays"] == [
        {"name": "inputs.ids", "dtype": "I64", "shape": [5, 7]},
        {"name": "labels", "dtype": "I64", "shape": [5]},
    ]
    assert listed["photos"]["arrays"] is None


def test_text_lines_are_taken_and_only_counted(client: TestClient) -> None:
    # Whether it is text, the job finds out.
    view = upload(client, "lines", content=safetensors_file({"text": ("U8", (5,))}, data=b"\xffcat\n")).json()
    assert (view["text_bytes"], view["arrays"], view["train"]["images"]) == (5, None, None)
    assert client.get("/datasets/lines").json() == view
    job = submit(client, {"architecture": "transformers:auto", "dataset": "lines"})
    assert job.json()["dataset_sha256"] == view["sha256"]


def test_the_same_file_again_changes_nothing(client: TestClient) -> None:
    first, again = upload(client), upload(client)
    assert (again.status_code, again.json()) == (201, first.json())


@pytest.mark.parametrize("announced", [True, False])
def test_a_taken_name_is_refused(client: TestClient, announced: bool) -> None:
    kept = upload(client, content=small_file(1)).json()
    other = small_file(2)
    headers = {"Content-Digest": content_digest(other)} if announced else None
    answer = upload(client, content=other, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (409, "dataset-exists")
    assert "DELETE /datasets/mine first" in answer.json()["detail"]
    assert client.get("/datasets/mine").json() == kept


def test_a_name_that_the_operator_offers_is_taken(embedded: Settings) -> None:
    with serving(embedded.model_copy(update={"dataset_roots": (DIGITS.parent,)})) as client:
        answer = upload(client, "digits")
        assert (answer.status_code, answer.json()["type"]) == (409, "dataset-exists")
        assert stored_files(embedded) == []


@pytest.mark.parametrize("name", ["", "Upper", "-dash", ".hidden", "a/b", "../up", "a b", "x" * 64, "ä", "a\n"])
def test_a_name_is_short_and_plain(embedded_client: TestClient, embedded: Settings, name: str) -> None:
    assert upload(embedded_client, name).status_code == 422
    assert stored_files(embedded) == []


BAD_FILES: list[tuple[bytes, str]] = [
    (b"", "header is longer than the file"),
    ((DIGITS / "train.npz").read_bytes(), "is a zip archive"),
    (safetensors_file(SMALL)[:-1], "bytes of data, but its header declares"),
    (safetensors_file(SMALL | {"train.images": ("U8", (3, 3, 4, 5))}), "images are U8 (uint8) of shape N x H x W x 3"),
    (safetensors_file({"train.images": ("U8", (1, 1, 1, 3))}), "has no tensor 'test.images'"),
]


@pytest.mark.parametrize(("content", "sentence"), BAD_FILES)
def test_what_is_no_data_set_is_refused_and_not_kept(
    embedded_client: TestClient, embedded: Settings, content: bytes, sentence: str
) -> None:
    answer = upload(embedded_client, content=content)
    assert (answer.status_code, answer.json()["type"]) == (422, "not-a-dataset")
    assert sentence in answer.json()["detail"]
    assert stored_files(embedded) == []
    assert embedded_client.get("/datasets/mine").status_code == 404


def test_a_claimed_size_is_checked_against_the_bytes_and_believed_by_nobody(embedded_client: TestClient) -> None:
    huge = safetensors_file(SMALL | {"train.images": ("U8", (2**40, 1, 1, 3))}, data=bytes(1000))
    answer = upload(embedded_client, content=huge)
    assert (answer.status_code, answer.json()["type"]) == (422, "not-a-dataset")


def test_another_body_than_was_announced_is_refused(embedded_client: TestClient, embedded: Settings) -> None:
    answer = upload(embedded_client, headers={"Content-Digest": content_digest(b"other")})
    assert (answer.status_code, answer.json()["type"]) == (422, "digest-mismatch")
    assert stored_files(embedded) == []


def test_an_upload_over_the_limit_is_refused_by_its_length_and_by_count(embedded: Settings) -> None:
    small = embedded.model_copy(update={"max_upload_bytes": 1000})
    with serving(small) as client:
        declared = upload(client, content=bytes(1001))
        counted = client.post("/datasets", params={"name": "mine"}, content=iter([bytes(600), bytes(600)]))
    assert [(answer.status_code, answer.json()["type"]) for answer in (declared, counted)] == [
        (413, "dataset-too-large")
    ] * 2
    assert stored_files(small) == []


def test_there_is_an_end_to_the_number_of_data_sets(
    embedded_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_DATASETS", 2)
    answers = [upload(embedded_client, f"set-{shade}", small_file(shade)) for shade in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert answers[2].json()["type"] == "too-many-datasets"
    embedded_client.delete("/datasets/set-0")
    assert upload(embedded_client, "set-2", small_file(2)).status_code == 201


def test_a_file_that_came_in_pieces_becomes_a_data_set(client: TestClient) -> None:
    upload_in_pieces(client, DIGITS_FILE)
    answers = [client.post("/datasets", params={"name": "mine"}, json={"sha256": SHA256}) for _ in range(2)]
    assert [(answer.status_code, answer.json()["sha256"]) for answer in answers] == [(201, SHA256)] * 2
    assert client.get(f"/checkpoints/{SHA256}").status_code == 404
    assert client.get("/datasets/mine").json() == answers[0].json()


def test_a_finished_upload_that_is_no_data_set_stays_what_it_is(client: TestClient) -> None:
    weights = safetensors_file({"w": ("F32", (4,))})
    digest = hashlib.sha256(weights).hexdigest()
    upload_in_pieces(client, weights)
    answer = client.post("/datasets", params={"name": "mine"}, json={"sha256": digest})
    assert (answer.status_code, answer.json()["type"]) == (422, "not-a-dataset")
    assert client.get(f"/checkpoints/{digest}").status_code == 200


@pytest.mark.parametrize(
    ("document", "slug"),
    [
        ({"sha256": "0" * 64}, "unknown-upload"),
        ({"sha256": "x"}, "invalid-dataset"),
        ({}, "invalid-dataset"),
        ({"sha256": "0" * 64, "more": 1}, "invalid-dataset"),
        ([], "invalid-dataset"),
    ],
)
def test_a_document_that_names_no_upload_is_refused(embedded_client: TestClient, document: Any, slug: str) -> None:
    answer = embedded_client.post("/datasets", params={"name": "mine"}, json=document)
    assert (answer.status_code, answer.json()["type"]) == (422, slug)


def test_a_job_may_name_an_uploaded_data_set(client: TestClient) -> None:
    upload(client)
    answer = submit(client, WITH_DATA)
    assert answer.status_code == 202
    job = answer.json()
    assert (job["options"]["dataset"], job["dataset_sha256"]) == ("mine", SHA256)
    assert client.get(job["links"]["self"]).json() == job


def test_a_document_may_name_an_uploaded_data_set_too(client: TestClient) -> None:
    upload(client)
    checkpoint = client.post("/checkpoints", content=EXAMPLE.read_bytes()).json()["sha256"]
    job = client.post("/jobs", json={"checkpoint": {"sha256": checkpoint}, "options": WITH_DATA}).json()
    assert job["dataset_sha256"] == SHA256


def test_a_data_set_that_there_is_not_is_unknown(client: TestClient, settings: Settings) -> None:
    upload(client)
    client.delete("/datasets/mine")
    answer = submit(client, WITH_DATA)
    assert (answer.status_code, answer.json()["type"]) == (422, "unknown-dataset")
    assert "you have not uploaded a data set 'mine'" in answer.json()["detail"]


def test_a_data_set_that_the_disk_has_lost_is_to_be_sent_again(client: TestClient, settings: Settings) -> None:
    upload(client)
    FolderStore(settings.artifacts).path(SHA256).unlink()
    answer = submit(client, WITH_DATA)
    assert (answer.status_code, answer.json()["type"]) == (422, "dataset-lost")
    assert upload(client).status_code == 201
    assert submit(client, WITH_DATA).status_code == 202


def test_a_key_stands_for_the_data_set_that_had_the_name(client: TestClient) -> None:
    key = {"Idempotency-Key": '"k"'}
    upload(client, content=small_file(1))
    first, again = (submit(client, WITH_DATA, headers=key) for _ in range(2))
    assert again.json()["id"] == first.json()["id"]
    client.delete("/datasets/mine")
    upload(client, content=small_file(2))
    other = submit(client, WITH_DATA, headers=key)
    assert (other.status_code, other.json()["type"]) == (422, "idempotency-key-reused")


def test_a_deleted_data_set_is_gone_and_its_name_is_free(client: TestClient) -> None:
    upload(client, content=small_file(1))
    assert [client.delete("/datasets/mine").status_code for _ in range(2)] == [204, 404]
    assert client.get("/datasets/mine").status_code == 404
    assert upload(client, content=small_file(2)).status_code == 201
