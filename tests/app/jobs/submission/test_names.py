import json

import pytest
from starlette.testclient import TestClient

from app.kit.file_names import name_at_address, name_in_disposition, name_of_file
from tests.conftest import EXAMPLE

CONTENT = EXAMPLE.read_bytes()


def submit_file(client: TestClient, file_name: str, **form: str) -> dict[str, object]:
    job: dict[str, object] = client.post("/jobs", files={"checkpoint": (file_name, CONTENT)}, data=form).json()
    return job


def test_a_job_is_called_by_its_file(client: TestClient) -> None:
    job = submit_file(client, "resnet20 größer.pt")
    assert job["name"] == "resnet20 größer.pt"
    assert client.get("/jobs").json()["items"][0]["name"] == "resnet20 größer.pt"


def test_a_name_goes_before_that_of_the_file(client: TestClient) -> None:
    assert submit_file(client, "model.pt", name=" nightly build ")["name"] == "nightly build"


def test_a_document_may_name_its_job(client: TestClient) -> None:
    sha256 = client.post("/checkpoints", content=CONTENT).json()["sha256"]
    document = {"checkpoint": {"sha256": sha256}}
    assert client.post("/jobs", json=document | {"name": "nightly"}).json()["name"] == "nightly"
    assert client.post("/jobs", json=document).json()["name"] is None


def test_a_job_is_called_by_the_name_that_its_checkpoint_was_uploaded_under(client: TestClient) -> None:
    disposition = "attachment; filename*=UTF-8''gr%C3%B6%C3%9Fer.pt"
    upload = client.post("/checkpoints", content=CONTENT, headers={"Content-Disposition": disposition}).json()
    assert upload["name"] == "größer.pt"
    assert client.post("/jobs", json={"checkpoint": {"sha256": upload["sha256"]}}).json()["name"] == "größer.pt"


def test_an_upload_that_is_sent_again_without_a_name_keeps_the_one_it_has(client: TestClient) -> None:
    disposition = 'attachment; filename="C:\\models\\model.pt"'
    client.post("/checkpoints", content=CONTENT, headers={"Content-Disposition": disposition})
    assert client.post("/checkpoints", content=CONTENT).json()["name"] == "model.pt"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="model.pt"', "model.pt"),
        ("attachment; filename=model.pt", "model.pt"),
        ('attachment; filename="größer.pt"'.encode().decode("latin-1"), "größer.pt"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="\u200b.pt"'.encode().decode("latin-1"), "\u200b.pt"),
        ('attachment; filename="\u200b"'.encode().decode("latin-1"), None),
        ("attachment", None),
        ("", None),
        (None, None),
    ],
)
def test_a_content_disposition_names_a_file(header: str | None, name: str | None) -> None:
    assert name_in_disposition(header) == name


@pytest.mark.parametrize(
    "name", ["", "  ", "a\nb", "a\0b", "a\u202eb", "a\u200fb", "\u200b \ufeff", "\ud800", "x" * 201, 7]
)
def test_what_is_no_name_is_refused(embedded_client: TestClient, name: object) -> None:
    sha256 = embedded_client.post("/checkpoints", content=CONTENT).json()["sha256"]
    body = json.dumps({"checkpoint": {"sha256": sha256}, "name": name})
    answer = embedded_client.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-job")


@pytest.mark.parametrize("name", [b"", b" ", b"a\nb", b"\xff", b"x" * 201])
def test_what_is_no_name_in_a_form_is_refused(embedded_client: TestClient, name: bytes) -> None:
    form = [("name", (None, name)), ("checkpoint", ("model.pt", CONTENT))]
    answer = embedded_client.post("/jobs", files=form)
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-name")
    assert answer.json()["errors"][0]["field"] == "name"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("model.pt", "model.pt"),
        ("/home/me/model.pt", "model.pt"),
        (r"C:\models\model.pt", "model.pt"),
        ("a\0\nb\u202e.pt", "ab.pt"),
        ("x" * 300, "x" * 200),
        ("folder/", None),
        ("", None),
    ],
)
def test_the_name_of_a_file_is_one_line(path: str, name: str | None) -> None:
    assert name_of_file(path) == name


def test_the_name_at_an_address_is_the_last_part_of_its_path() -> None:
    assert name_at_address("https://example.org/models/my%20model.pt?download=true") == "my model.pt"
    assert name_at_address("models:/resnet/3") == "3"
