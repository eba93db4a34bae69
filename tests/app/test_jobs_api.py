import argparse
import hashlib
import io
import json
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import Connection, Engine, event
from starlette.testclient import TestClient

from app.datasets.folders import resolve_folder
from app.jobs.repository import JobRepository
from app.kit.problems import Problem
from app.settings import Settings
from app.storage import open_store
from app.storage.folder import FolderStore
from tests.app.conftest import serving, stored_files, submit
from tests.conftest import DIGITS, EXAMPLE, transaction
from tests.onnx_models import small_model

PROBLEM = "application/problem+json"
NO_STEPS = {"step": 0, "total": None, "loss": None, "steps_per_second": None, "seconds_left": None}
METRICS: dict[str, Any] = {
    "source_bytes": 100,
    "tensor_bytes": 96,
    "file_bytes": 50,
    "predictor_bytes": 40,
    "permutation_bytes": 4,
    "integer_bytes": 0,
    "kept_bytes": 4,
    "ratio": 2.0,
    "relative_error": 0.1,
    "layer_errors": {"conv.weight": 0.1},
    "original_accuracy": 90.0,
    "reconstructed_accuracy": None,
    "fidelity": None,
    "verdict": {"level": "degraded", "sentence": "96.00 % are right.", "advice": "Ask for more bytes."},
    "seconds": {"total": 1.5},
    "notes": [],
}


IMPORTANCE = {
    "importance.json": b"{}",
    "importance.safetensors": b"scores",
    "pruning-curve.svg": b"<svg/>",
}


def finish(
    settings: Settings, job_id: str, tmp_path: Path, without: str = "", also: Mapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """Do the work of a worker for a succeeding job; return the results."""
    results = dict(also or {}) | {
        "weights.safetensors": b"safetensors",
        "weights.pt": b"torch",
        "encoding.nern": b"encoding",
        "report.json": b"{}",
        "report.html": b"<!doctype html>",
    }
    results.pop(without, None)
    store, artifacts = open_store(settings), {}
    for name, content in results.items():
        (tmp_path / name).write_bytes(content)
        stored = store.put(tmp_path / name)
        artifacts[name] = {"bytes": stored.size, "sha256": stored.sha256}
    with transaction(settings) as session:
        repository = JobRepository(session)
        claim = repository.claim(job_id, timedelta(seconds=30))
        assert claim is not None
        assert repository.succeed(claim, METRICS, artifacts)
    return results


def dataset_of(settings: Settings) -> str:
    """Return the data set option for the digits: any folder, or one below the offered roots."""
    return str(DIGITS) if settings.embedded else DIGITS.name


def test_a_submission_is_accepted_with_its_address(client: TestClient) -> None:
    answer = submit(client, {"steps": 10})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/jobs/{job['id']}" == job["links"]["self"]
    assert answer.headers["Retry-After"] == "2"
    assert job["status"] == "queued"
    assert job["options"]["steps"] == 10
    assert job["checkpoint"] == {
        "bytes": EXAMPLE.stat().st_size,
        "sha256": hashlib.sha256(EXAMPLE.read_bytes()).hexdigest(),
    }


def test_the_checkpoint_is_stored_as_it_was_sent(client: TestClient, settings: Settings) -> None:
    digest = submit(client).json()["checkpoint"]["sha256"]
    assert FolderStore(settings.artifacts).path(digest).read_bytes() == EXAMPLE.read_bytes()


def test_options_may_come_before_the_checkpoint(embedded_client: TestClient) -> None:
    boundary = "b0undary"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="options"\r\n\r\n{{"seed": 7}}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="checkpoint"; filename="a"\r\n\r\n'
    ).encode() + EXAMPLE.read_bytes()
    body += f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = embedded_client.post("/jobs", content=body, headers=headers)
    assert answer.status_code == 202
    assert answer.json()["options"]["seed"] == 7


def test_a_job_can_be_followed(client: TestClient) -> None:
    submitted = submit(client).json()
    answer = client.get(submitted["links"]["self"])
    assert answer.json() == submitted
    assert answer.headers["Retry-After"] == "2"


def test_the_relative_dataset_of_a_job_is_stored_absolute(client: TestClient, settings: Settings) -> None:
    job = submit(client, {"architecture": "digits-cnn", "dataset": dataset_of(settings)}).json()
    assert job["options"]["dataset"] == str(DIGITS)


@pytest.mark.parametrize("dataset", ["/etc", "../../../etc", "no-such-folder", "/", "x" * 5000, "nul\0byte"])
def test_a_dataset_that_is_not_offered_is_unknown(client: TestClient, settings: Settings, dataset: str) -> None:
    answer = submit(client, {"architecture": "digits-cnn", "dataset": dataset})
    assert (answer.status_code, answer.json()["type"]) == (422, "unknown-dataset")
    assert stored_files(settings) == []


def test_outside_of_the_embedded_mode_only_offered_folders_are_data_sets(tmp_path: Path) -> None:
    elsewhere = tmp_path / "private"
    elsewhere.mkdir()
    for split in ("train", "test"):
        (elsewhere / f"{split}.npz").touch()
    settings = Settings(data_dir=tmp_path, database_url="postgresql+psycopg://h/d", broker_url="redis://h")
    for allowed in (settings, settings.model_copy(update={"dataset_roots": (DIGITS.parent,)})):
        with pytest.raises(Problem):
            resolve_folder(str(elsewhere), allowed)
    assert resolve_folder("digits", settings.model_copy(update={"dataset_roots": (DIGITS.parent,)})) == str(DIGITS)


BAD_OPTIONS: list[tuple[Any, str, str]] = [
    ({"hiden_size": 64}, "invalid-options", "hiden_size: there is no such option; the options are architecture"),
    (
        {"architecture": "resnet20"},
        "invalid-options",
        "architecture: there is no such architecture; did you mean cifar-resnet20?",
    ),
    (
        {"architecture": "two:Two"},
        "invalid-options",
        "architecture: there is no such architecture; a service takes no code of yours, so install it there as",
    ),
    ({"seconds": -1}, "invalid-options", "seconds: this must be more than 0."),
    ({"steps": 2**53}, "invalid-options", "steps: this must be at most 9007199254740991."),
    (
        {"target_bytes": 10**400},
        "invalid-options",
        "target_bytes: this must be at most 900719925474099",
    ),
    ({"seconds": 1, "steps": 1}, "invalid-options", "Give a budget in `seconds` or in `steps`, not both."),
    (
        {"target_bytes": 9, "target_ratio": 4},
        "invalid-options",
        "Use only one of `target_bytes`, `target_ratio` and `max_drop`.",
    ),
    ("{", "invalid-options", 'options: send a JSON object, such as {"steps": 200}.'),
    ("[]", "invalid-options", 'options: send a JSON object, such as {"steps": 200}.'),
    ({"steps": "x"}, "invalid-options", "steps: this must be a whole number."),
    ('{"seconds": NaN}', "invalid-options", "seconds: this must be a finite number."),
]


def test_a_data_set_of_an_unknown_network_is_refused(embedded_client: TestClient) -> None:
    answer = submit(embedded_client, {"dataset": str(DIGITS)})
    assert (answer.status_code, answer.json()["type"]) == (422, "no-architecture")
    assert answer.json()["detail"] == (
        "`dataset` needs `architecture`, for training and measuring; only ONNX files and folders of transformers need "
        "none."
    )


def test_an_onnx_file_is_accepted_and_holds_its_own_architecture(embedded_client: TestClient) -> None:
    files = {"checkpoint": ("net.onnx", small_model().SerializeToString())}
    assert embedded_client.post("/jobs", files=files).status_code == 202
    options = json.dumps({"architecture": "cifar-resnet20"})
    answer = embedded_client.post("/jobs", files=files, data={"options": options})
    assert (answer.status_code, answer.json()["type"]) == (422, "own-architecture")


@pytest.mark.parametrize(("options", "slug", "sentence"), BAD_OPTIONS)
def test_bad_options_are_explained(embedded_client: TestClient, options: Any, slug: str, sentence: str) -> None:
    answer = submit(embedded_client, options)
    problem = answer.json()
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, PROBLEM)
    assert (problem["type"], problem["status"]) == (slug, 422)
    assert sentence in problem["detail"]


@pytest.mark.parametrize(
    ("part", "text", "detail"),
    [
        ("options", "[]", 'send a JSON object, such as {"steps": 200}.'),
        ("labels", "team=vision", 'send a JSON object of texts, such as {"team": "vision"}.'),
        (
            "webhook",
            "http://example.org",
            'send a JSON object with the address, such as {"url": "https://example.org/ended"}.',
        ),
        ("deadline_seconds", "abc", "send a whole number of seconds, such as 3600."),
        ("deadline_seconds", "0", "this must be at least 1."),
    ],
)
def test_a_part_that_is_something_else_is_named_with_what_to_send(
    embedded_client: TestClient, part: str, text: str, detail: str
) -> None:
    answer = embedded_client.post("/jobs", files={"checkpoint": EXAMPLE.read_bytes()}, data={part: text})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": part, "detail": detail}]
    assert answer.json()["detail"] == f"{part}: {detail}"


@pytest.mark.parametrize(
    ("part", "document", "field", "detail"),
    [
        (
            "webhook",
            {"url": "https://example.org", "events": ["job.started"]},
            "webhook.events.0",
            "use 'job.succeeded', 'job.failed' or 'job.canceled'.",
        ),
        ("webhook", {"url": "https://example.org", "events": []}, "webhook.events", "give at least 1 entry."),
        ("webhook", {"url": "https://example.org", "event": []}, "webhook.event", "there is no such field."),
        ("labels", {"Team": "x"}, "labels.Team", "the key of a label is 1 to 63 lowercase letters, digits and `._/-`."),
        ("labels", {"team": 7}, "labels.team", "this must be a text."),
    ],
)
def test_a_field_of_a_part_is_explained_once_and_without_the_words_of_the_library(
    embedded_client: TestClient, part: str, document: Any, field: str, detail: str
) -> None:
    form = {part: json.dumps(document)}
    answer = embedded_client.post("/jobs", files={"checkpoint": EXAMPLE.read_bytes()}, data=form)
    assert answer.json()["errors"] == [{"field": field, "detail": detail}]


@pytest.mark.parametrize(
    ("address", "field", "detail"),
    [
        (
            "/checkpoints/ABC",
            "sha256",
            "a SHA-256 is 64 hexadecimal digits, 0 to 9 and a to f in lowercase.",
        ),
        (
            "/datasets/Digits",
            "name",
            (
                "the name of a data set is 1 to 63 lowercase letters, digits and `._-`; it starts with a letter or a "
                "digit."
            ),
        ),
        (
            "/jobs?status=lost",
            "status",
            "use 'queued', 'running', 'canceling', 'succeeded', 'failed' or 'canceled'.",
        ),
        ("/jobs?limit=x", "limit", "this must be a whole number."),
    ],
)
def test_a_parameter_is_explained_by_what_it_looks_like(
    embedded_client: TestClient, address: str, field: str, detail: str
) -> None:
    answer = embedded_client.get(address)
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-request")
    assert answer.json()["errors"] == [{"field": field, "detail": detail}]


def test_a_query_parameter_that_counts_once_is_refused_if_it_comes_twice(embedded_client: TestClient) -> None:
    answer = embedded_client.get("/jobs?kind=encoding&kind=reconstruction&status=queued&status=running")
    assert (answer.status_code, answer.json()["type"]) == (422, "repeated-parameter")
    assert answer.json()["errors"] == [{"field": "kind", "detail": "give it once"}]


@pytest.mark.parametrize("address", ["/jobs", "/reconstructions", "/checkpoints", "/datasets?name=digits"])
def test_a_compressed_body_is_refused_everywhere(embedded_client: TestClient, address: str) -> None:
    answer = embedded_client.post(address, content=b"x", headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["type"]) == (415, "encoded-body")


@pytest.mark.parametrize(
    ("form", "slug", "field"),
    [
        ({"files": {"weights": b"x"}}, "unexpected-part", "weights"),
        ({"files": {"options": (None, "{}")}}, "missing-checkpoint", "checkpoint"),
        ({"json": {"checkpoint": {"url": "http://10.0.0.1/x"}}}, "refused-address", "checkpoint.url"),
        ({"json": {"checkpoint": {"url": "models:/digits/1"}}}, "no-mlflow-server", "checkpoint.url"),
        (
            {"json": {"checkpoint": {"sha256": "a" * 64}, "webhook": {"url": "http://10.0.0.1/x"}}},
            "refused-address",
            "webhook.url",
        ),
    ],
)
def test_errors_name_the_field_at_fault(
    embedded_client: TestClient, form: dict[str, Any], slug: str, field: str
) -> None:
    problem = embedded_client.post("/jobs", **form).json()
    assert (problem["type"], [error["field"] for error in problem["errors"]]) == (slug, [field])


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"fail_over": 1}, "fail_over"),
        ({"seconds": 1, "steps": 1}, "steps"),
        ({"target_bytes": 5000, "max_drop": 1}, "max_drop"),
        ({"target_ratio": 4, "rounds": 2}, "rounds"),
    ],
)
def test_options_that_exclude_each_other_name_one_of_them(
    embedded_client: TestClient, options: dict[str, Any], field: str
) -> None:
    problem = submit(embedded_client, options).json()
    assert problem["errors"] == [{"field": field, "detail": problem["detail"]}]


def safetensors(header: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


WEIGHTS = {"conv.weight": torch.ones(32, 16, 3, 3)}


def torch_file(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_the_option_key_chooses_among_the_state_dicts_of_a_checkpoint(embedded_client: TestClient) -> None:
    content = torch_file({"teacher": WEIGHTS, "student": dict(WEIGHTS), "args": argparse.Namespace(lr=0.1)})
    assert submit(embedded_client, {"key": "student"}, content).status_code == 202
    answer = submit(embedded_client, {"key": "absent"}, content)
    assert (answer.status_code, answer.json()["type"]) == (422, "unknown-weights")
    assert "they are under 'teacher', 'student'" in answer.json()["detail"]


def test_a_checkpoint_of_several_state_dicts_may_be_uploaded_for_jobs_that_choose(embedded_client: TestClient) -> None:
    content = torch_file({"teacher": WEIGHTS, "student": dict(WEIGHTS)})
    sent = embedded_client.post("/checkpoints", content=content)
    assert sent.status_code == 201
    document = {"checkpoint": {"sha256": sent.json()["sha256"]}, "options": {"key": "teacher"}}
    assert embedded_client.post("/jobs", json=document).status_code == 202
    unnamed = embedded_client.post("/jobs", json=document | {"options": {}})
    assert (unnamed.status_code, unnamed.json()["type"]) == (422, "ambiguous-checkpoint")


BAD_CHECKPOINTS = [
    (b"", "empty-checkpoint", "is an empty file"),
    (b"not a checkpoint at all", "not-a-checkpoint", "neither a safetensors nor a torch checkpoint"),
    (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "not-a-checkpoint", "neither a safetensors nor a torch checkpoint"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "not-a-checkpoint", "is a pointer of Git LFS"),
    (b"<!doctype html><title>Sign in</title>", "not-a-checkpoint", "is a web page"),
    (torch_file({"a": WEIGHTS, "b": dict(WEIGHTS)}), "ambiguous-checkpoint", "several state dicts, under 'a', 'b'"),
    (torch_file({"model": WEIGHTS, "run": print}), "executable-checkpoint", "['model'], 'weights.pt')`"),
    (EXAMPLE.read_bytes()[:-4], "unreadable-checkpoint", "bytes of data, but its header declares"),
    (
        safetensors({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, bytes(16)),
        "no-kernels",
        "has no floating-point tensor of two or more axes",
    ),
]


def test_a_checkpoint_of_another_architecture_is_refused_and_not_kept(
    embedded_client: TestClient, embedded: Settings
) -> None:
    answer = submit(embedded_client, {"architecture": "cifar-resnet20"})
    assert (answer.status_code, answer.json()["type"]) == (422, "architecture-mismatch")
    assert answer.json()["detail"].startswith("The checkpoint does not fit the architecture cifar-resnet20: ")
    assert stored_files(embedded) == []
    sent = embedded_client.post("/checkpoints", content=EXAMPLE.read_bytes()).json()
    document = {"checkpoint": {"sha256": sent["sha256"]}, "options": {"architecture": "torchvision:resnet18"}}
    named = embedded_client.post("/jobs", json=document)
    assert (named.status_code, named.json()["type"]) == (422, "architecture-mismatch")
    assert embedded_client.get("/jobs").json()["items"] == []


def test_an_architecture_that_there_is_not_is_refused(embedded_client: TestClient) -> None:
    answer = submit(embedded_client, {"architecture": "torchvision:nothing"})
    assert (answer.status_code, answer.json()["type"]) == (422, "unknown-architecture")


@pytest.mark.parametrize(
    "name", ["./net.py:Net", "os:system", "timm:", "timm:../net", "timm:hf-hub:a/b", "timm:a\x00", f"timm:{'a' * 101}"]
)
def test_code_that_a_request_names_and_names_of_another_form_are_refused(
    embedded_client: TestClient, name: str
) -> None:
    answer = submit(embedded_client, {"architecture": name})
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-options")
    assert "there is no such architecture" in answer.json()["detail"]


@pytest.mark.parametrize(("content", "slug", "sentence"), BAD_CHECKPOINTS)
def test_a_file_that_cannot_be_encoded_is_refused_and_not_kept(
    embedded_client: TestClient, embedded: Settings, content: bytes, slug: str, sentence: str
) -> None:
    answer = submit(embedded_client, checkpoint=content)
    problem = answer.json()
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, PROBLEM)
    assert problem["type"] == slug
    assert sentence in problem["detail"]
    assert stored_files(embedded) == []


def test_a_full_disk_of_the_database_is_answered_as_one(embedded_client: TestClient) -> None:
    def allow_no_more_pages(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")

    event.listen(Engine, "begin", allow_no_more_pages)
    try:
        answer = submit(embedded_client, {"kernels": ["*"] * 3000})
    finally:
        event.remove(Engine, "begin", allow_no_more_pages)
    assert (answer.status_code, answer.json()["type"]) == (507, "disk-full")


@pytest.mark.parametrize(
    ("request_body", "status", "slug"),
    [
        ({"data": {"options": "{}"}, "files": {"other": b"x"}}, 422, "unexpected-part"),
        ({"files": [("checkpoint", b"x"), ("checkpoint", b"y")]}, 422, "unexpected-part"),
        ({"data": {"checkpoint": "x"}}, 415, "not-a-form"),
        ({"content": b"", "headers": {"Content-Type": "multipart/form-data"}}, 415, "not-a-form"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400, "malformed-form"),
        ({"content": b"", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400, "malformed-form"),
        (
            {"content": b"", "headers": {"Content-Type": f"multipart/form-data; boundary={'b' * 257}"}},
            400,
            "malformed-form",
        ),
        (
            {
                "content": b'--b\r\nContent-Disposition: form-data; name="checkpoint"\r\n\r\ncut',
                "headers": {"Content-Type": "multipart/form-data; boundary=b"},
            },
            400,
            "malformed-form",
        ),
        (
            {
                "content": b"--b\r\nX-Long: " + b"x" * 5000 + b"\r\n\r\n{}\r\n--b--\r\n",
                "headers": {"Content-Type": "multipart/form-data; boundary=b"},
            },
            400,
            "malformed-form",
        ),
        (
            {
                "content": b'--b\r\nContent-Disposition: form-data; name="options"\r\n\r\n{}\r\n--b--\r\n',
                "headers": {"Content-Type": "multipart/form-data; boundary=b"},
            },
            422,
            "missing-checkpoint",
        ),
        ({"data": {"options": " " * 70_000}, "files": {"checkpoint": b"x"}}, 413, "options-too-large"),
    ],
)
def test_a_form_that_does_not_fit_is_explained(
    embedded_client: TestClient, embedded: Settings, request_body: dict[str, Any], status: int, slug: str
) -> None:
    answer = embedded_client.post("/jobs", **request_body)
    assert (answer.status_code, answer.json()["type"]) == (status, slug)
    assert answer.json()["detail"].endswith((".", "/jobs."))
    assert stored_files(embedded) == []


def test_a_checkpoint_over_the_limit_is_refused(embedded: Settings) -> None:
    small = embedded.model_copy(update={"max_upload_bytes": 1000})
    with serving(small) as client:
        declared = submit(client, checkpoint=b"x" * 3_000_000)
        counted = submit(client, checkpoint=b"x" * 1001)
    assert (declared.status_code, counted.status_code) == (413, 413)
    assert "over the limit of 1,000 bytes" in counted.json()["detail"]
    assert stored_files(small) == []


def test_jobs_are_listed_a_page_at_a_time(client: TestClient) -> None:
    ids = [submit(client).json()["id"] for _ in range(3)]
    first = client.get("/jobs", params={"limit": 2}).json()
    rest = client.get("/jobs", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [job["id"] for job in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None


def test_jobs_are_listed_by_status(client: TestClient, settings: Settings, tmp_path: Path) -> None:
    waiting, canceled, finished = (submit(client).json() for _ in range(3))
    client.post(canceled["links"]["cancel"])
    finish(settings, finished["id"], tmp_path)
    several = client.get("/jobs?status=queued&status=canceled").json()["items"]
    assert [job["id"] for job in several] == [canceled["id"], waiting["id"]]
    assert [job["id"] for job in client.get("/jobs?status=queued").json()["items"]] == [waiting["id"]]
    assert [job["id"] for job in client.get("/jobs?status=canceled").json()["items"]] == [canceled["id"]]


@pytest.mark.parametrize(
    "query",
    [
        "status=done",
        "kind=other",
        "limit=0",
        "limit=101",
        "cursor=" + "x" * 41,
        "cursor=job_1",
        "cursor=" + "z" * 36,
        "cursor=",
    ],
)
def test_a_list_that_cannot_be_made_is_explained(embedded_client: TestClient, query: str) -> None:
    answer = embedded_client.get(f"/jobs?{query}")
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-request")
    # One of several values is named with its place.
    assert answer.json()["errors"][0]["field"].removesuffix(".0") == query.partition("=")[0]


def test_what_is_no_cursor_is_refused_in_plain_words(embedded_client: TestClient) -> None:
    assert embedded_client.get("/jobs?cursor=2").json()["detail"] == (
        "cursor: this is not a cursor; use `next_cursor` of the previous page, or omit it for the first page."
    )


def test_a_page_goes_on_after_a_job_that_was_deleted(client: TestClient) -> None:
    older, newer = submit(client).json(), submit(client).json()
    client.post(newer["links"]["cancel"])
    client.delete(newer["links"]["self"])
    page = client.get("/jobs", params={"cursor": newer["id"]}).json()
    assert [job["id"] for job in page["items"]] == [older["id"]]


def test_no_route_takes_a_query_parameter_that_it_does_not_declare(embedded_client: TestClient) -> None:
    paths = embedded_client.get("/openapi.json").json()["paths"]
    addresses = [(method, path) for path, methods in paths.items() for method in methods]
    addresses += [("get", page) for page in ("/", "/new", "/data", "/docs", "/sign-in", "/assets/pages.css")]
    for method, path in addresses:
        answer = embedded_client.request(method, path, params={"statuss": "failed"})
        assert answer.status_code == 422, (method, path)
        if method != "head":
            assert "`statuss`" in answer.text, (method, path)


def test_an_unknown_query_parameter_is_named_beside_the_known_ones(embedded_client: TestClient) -> None:
    answer = embedded_client.get("/jobs?page=2&status=queued").json()
    assert (answer["type"], answer["errors"]) == (
        "unknown-parameter",
        [{"field": "page", "detail": "there is no such parameter"}],
    )
    assert answer["detail"] == (
        "This address does not take the query parameter `page`. It takes `cursor`, `kind`, `label`, `limit`, `status`."
    )


def test_a_queued_job_is_canceled_at_once_and_again(client: TestClient) -> None:
    job = submit(client).json()
    for _ in range(2):
        answer = client.post(job["links"]["cancel"])
        assert (answer.status_code, answer.json()["status"]) == (202, "canceled")
    assert client.get(job["links"]["self"]).json()["finished_at"] is not None


def test_a_job_that_has_ended_cannot_be_canceled(client: TestClient, settings: Settings, tmp_path: Path) -> None:
    job = submit(client).json()
    finish(settings, job["id"], tmp_path)
    answer = client.post(job["links"]["cancel"])
    assert (answer.status_code, answer.json()["type"]) == (409, "job-ended")
    assert "already succeeded" in answer.json()["detail"]


def test_a_job_that_has_ended_can_be_deleted_once(client: TestClient, settings: Settings, tmp_path: Path) -> None:
    job = submit(client).json()
    finish(settings, job["id"], tmp_path)
    assert [client.delete(job["links"]["self"]).status_code for _ in range(2)] == [204, 404]
    for address in ("", "/weights", "/report"):
        assert client.get(job["links"]["self"] + address).json()["type"] == "unknown-job"
    assert client.get("/jobs").json()["items"] == []


def test_a_job_that_has_not_ended_cannot_be_deleted(client: TestClient) -> None:
    job = submit(client).json()
    answer = client.delete(job["links"]["self"])
    assert (answer.status_code, answer.json()["type"]) == (409, "job-not-ended")
    assert answer.json()["detail"] == (
        f"The job is queued: cancel it with POST {job['links']['cancel']}, and delete it when it has ended."
    )
    assert client.get(job["links"]["self"]).status_code == 200


def test_the_files_of_a_job_that_has_ended_have_an_expiry(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    job = submit(client).json()
    finish(settings, job["id"], tmp_path)
    view = client.get(job["links"]["self"]).json()
    lifetime = datetime.fromisoformat(view["expires_at"]) - datetime.fromisoformat(view["finished_at"])
    assert (lifetime, view["data_removed"]) == (timedelta(days=30), False)


@pytest.mark.parametrize("damage", [b"tOrch", b"torc", b"torch and more"])
def test_a_damaged_result_is_not_sent(client: TestClient, settings: Settings, tmp_path: Path, damage: bytes) -> None:
    job = submit(client).json()
    results = finish(settings, job["id"], tmp_path)
    address = f"/jobs/{job['id']}/weights?format=pt"
    assert client.get(address).content == results["weights.pt"]
    path = FolderStore(settings.artifacts).path(hashlib.sha256(results["weights.pt"]).hexdigest())
    path.chmod(0o644)
    path.write_bytes(damage)
    answer = client.get(address)
    assert (answer.status_code, answer.json()["type"]) == (500, "damaged-result")
    path.unlink()
    assert client.get(address).json()["type"] == "damaged-result"


@pytest.mark.parametrize("address", ["", "/cancel", "/weights", "/encoding", "/report", "/importance"])
def test_an_unknown_job_is_not_found(embedded_client: TestClient, address: str) -> None:
    method = "POST" if address == "/cancel" else "GET"
    answer = embedded_client.request(method, f"/jobs/job_unknown{address}")
    assert (answer.status_code, answer.json()["type"]) == (404, "unknown-job")
    assert answer.headers["Content-Type"] == PROBLEM


def test_results_are_downloaded_with_the_digest_that_was_published(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    job = submit(client, {"importance": True, "architecture": "digits-cnn", "dataset": dataset_of(settings)}).json()
    results = finish(settings, job["id"], tmp_path, also=IMPORTANCE)
    job = client.get(job["links"]["self"]).json()
    assert (job["status"], job["metrics"]) == ("succeeded", METRICS)
    assert set(job["artifacts"]) == set(results)
    for name, content in results.items():
        answer = client.get(job["artifacts"][name]["url"])
        assert answer.content == content
        digest = hashlib.sha256(content).hexdigest()
        assert answer.headers["ETag"] == f'"{digest}"' == f'"{job["artifacts"][name]["sha256"]}"'
        assert job["artifacts"][name]["bytes"] == len(content)


def test_the_report_comes_as_json_or_as_a_page_in_which_nothing_runs(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    job = submit(client).json()
    finish(settings, job["id"], tmp_path)
    address = f"/jobs/{job['id']}/report"
    assert client.get(address).content == client.get(f"{address}?format=json").content == b"{}"
    page = client.get(f"{address}?format=html")
    assert page.content == b"<!doctype html>"
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Disposition"] == "inline"
    assert page.headers["Content-Security-Policy"] == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
    )
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get(f"{address}?format=pdf").status_code == 422


def test_the_importance_comes_as_a_document_as_scores_or_as_a_curve(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    job = submit(client, {"importance": True, "architecture": "digits-cnn", "dataset": dataset_of(settings)}).json()
    address = f"/jobs/{job['id']}/importance"
    waiting = client.get(address)
    assert (waiting.status_code, waiting.json()["type"]) == (409, "no-results")
    finish(settings, job["id"], tmp_path, also=IMPORTANCE)
    assert client.get(address).content == client.get(f"{address}?format=json").content == b"{}"
    assert client.get(f"{address}?format=safetensors").content == b"scores"
    curve = client.get(f"{address}?format=svg")
    assert (curve.content, curve.headers["Content-Type"]) == (b"<svg/>", "image/svg+xml")
    assert curve.headers["Content-Disposition"] == "inline"
    assert curve.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert client.get(f"{address}?format=png").status_code == 422


def test_a_job_that_was_not_asked_for_the_importance_says_how_to_ask(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    without, curveless = submit(client).json(), submit(client, {"importance": True}).json()
    finish(settings, curveless["id"], tmp_path, without="pruning-curve.svg", also=IMPORTANCE)
    asked = [
        client.get(f"/jobs/{without['id']}/importance"),
        client.get(f"/jobs/{curveless['id']}/importance?format=svg"),
    ]
    assert [(answer.status_code, answer.json()["type"]) for answer in asked] == [(404, "not-asked-for")] * 2
    assert [answer.json()["detail"] for answer in asked] == [
        f"This result was not requested: submit the checkpoint again with the option `{option}`."
        for option in ("importance", "dataset")
    ]
    assert client.get(f"/jobs/{curveless['id']}/importance").status_code == 200


def test_a_result_that_the_job_has_not_left_is_not_found(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    job = submit(client).json()
    finish(settings, job["id"], tmp_path, without="report.html")
    answer = client.get(f"/jobs/{job['id']}/report?format=html")
    assert (answer.status_code, answer.json()["type"]) == (404, "no-such-result")
    assert answer.json()["detail"] == (
        "The job has no result named 'report.html'; "
        f"its results are {', '.join(sorted(client.get(job['links']['self']).json()['artifacts']))}."
    )


def test_an_unchanged_result_is_not_sent_again(client: TestClient, settings: Settings, tmp_path: Path) -> None:
    job = submit(client).json()
    finish(settings, job["id"], tmp_path)
    address = f"/jobs/{job['id']}/weights"
    etag = client.get(address).headers["ETag"]
    answer = client.get(address, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content) == (304, b"")


def test_a_part_of_a_result_can_be_downloaded(client: TestClient, settings: Settings, tmp_path: Path) -> None:
    job = submit(client).json()
    finish(settings, job["id"], tmp_path)
    answer = client.get(f"/jobs/{job['id']}/weights?format=pt", headers={"Range": "bytes=1-2"})
    assert (answer.status_code, answer.content) == (206, b"or")


def test_whoever_asks_for_many_ranges_gets_the_whole_result_at_once(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    job = submit(client).json()
    finish(settings, job["id"], tmp_path)
    for ranges in ("0-0,2-2", ",".join(["0-0"] * 10_000)):
        start = time.process_time()
        answer = client.get(f"/jobs/{job['id']}/weights?format=pt", headers={"Range": f"bytes={ranges}"})
        assert (answer.status_code, answer.content) == (200, b"torch")
        # Processor time: waiting for a busy machine does not count.
        assert time.process_time() - start < 0.5


def test_a_job_that_has_succeeded_has_no_progress(client: TestClient, settings: Settings, tmp_path: Path) -> None:
    job = submit(client).json()
    with transaction(settings) as session:
        repository = JobRepository(session)
        claim = repository.claim(job["id"], timedelta(seconds=30))
        assert claim is not None
        repository.heartbeat(claim, timedelta(seconds=30), "publication", {"fraction": 1.0, **NO_STEPS})
        assert repository.succeed(claim, METRICS, {})
    assert client.get(f"/jobs/{job['id']}").json()["progress"] is None


def test_a_job_without_results_says_why(client: TestClient) -> None:
    job = submit(client).json()
    waiting = client.get(f"/jobs/{job['id']}/weights")
    client.post(job["links"]["cancel"])
    canceled = client.get(f"/jobs/{job['id']}/weights")
    assert (waiting.status_code, waiting.json()["type"]) == (409, "no-results")
    assert "The job is queued" in waiting.json()["detail"]
    assert "was canceled" in canceled.json()["detail"]


def test_an_unknown_address_and_method_are_problems(embedded_client: TestClient) -> None:
    missing, wrong = embedded_client.get("/job"), embedded_client.delete("/jobs")
    assert (missing.status_code, missing.json()["type"]) == (404, "not-found")
    assert (wrong.status_code, wrong.json()["type"]) == (405, "method-not-allowed")
    assert {answer.headers["Content-Type"] for answer in (missing, wrong)} == {PROBLEM}
