import base64
import hashlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx2
import pytest
from starlette.testclient import TestClient

from app.settings import Settings
from app.storage.folder import FolderStore
from tests.app.conftest import serving, stored_files
from tests.conftest import EXAMPLE
from tests.mlflow_server import log_model, register

if TYPE_CHECKING:
    from mlflow import MlflowClient

CONTENT = EXAMPLE.read_bytes()
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def submit(client: TestClient, url: str, **more: Any) -> httpx2.Response:
    return client.post("/jobs", json={"checkpoint": {"url": url, **more}, "options": {"steps": 10}})


@pytest.fixture
def knowing(embedded: Settings, mlflow_url: str) -> Settings:
    """Settings with the real MLflow server."""
    return embedded.model_copy(update={"mlflow_tracking_uri": mlflow_url})


@pytest.fixture
def client(knowing: Settings) -> Iterator[TestClient]:
    with serving(knowing) as client:
        yield client


@pytest.mark.slow
def test_models_aliases_and_runs_are_fetched_into_the_store(
    client: TestClient, knowing: Settings, tracking: "MlflowClient", registered_model: str
) -> None:
    tracking.set_registered_model_alias(registered_model, "champion", "1")
    run_id = tracking.get_model_version(registered_model, "1").run_id
    for url in (
        f"models:/{registered_model}/1",
        f"models:/{registered_model}/1/model.safetensors",
        f"models:/{registered_model}@champion",
        f"runs:/{run_id}",
        f"runs:/{run_id}/checkpoint/model.safetensors",
    ):
        answer = submit(client, url)
        assert answer.status_code == 202, answer.text
        assert answer.json()["checkpoint"] == {"bytes": len(CONTENT), "sha256": DIGEST}
    assert FolderStore(knowing.artifacts).path(DIGEST).read_bytes() == CONTENT


@pytest.mark.slow
def test_what_mlflow_3_has_logged_is_fetched_by_its_id_and_as_the_newest_version(
    client: TestClient, tracking: "MlflowClient", registered_model: str, tmp_path: Path
) -> None:
    model_id = log_model(tracking, registered_model, tmp_path / "model.safetensors")
    tracking.create_model_version(registered_model, f"models:/{model_id}", model_id=model_id)
    for url in (
        f"models:/{model_id}",
        f"models:/{model_id}/extra_files/model.safetensors",
        f"models:/{registered_model}/2",
        f"models:/{registered_model}/latest/extra_files",
        f"models:/{registered_model}/none/extra_files",
    ):
        answer = submit(client, url)
        assert answer.status_code == 202, answer.text
        assert answer.json()["checkpoint"] == {"bytes": len(CONTENT), "sha256": DIGEST}


@pytest.mark.slow
def test_a_version_that_was_registered_by_the_name_of_its_run_is_fetched(
    client: TestClient, tracking: "MlflowClient", registered_model: str
) -> None:
    run_id = tracking.get_model_version(registered_model, "1").run_id
    tracking.create_model_version(registered_model, f"runs:/{run_id}/checkpoint", run_id=run_id)
    assert submit(client, f"models:/{registered_model}/2").status_code == 202


@pytest.mark.slow
def test_the_digest_and_the_size_are_those_of_the_file(knowing: Settings, registered_model: str) -> None:
    small = knowing.model_copy(update={"max_upload_bytes": len(CONTENT) - 1})
    with serving(knowing) as client:
        assert submit(client, f"models:/{registered_model}/1", sha256=DIGEST).status_code == 202
        assert submit(client, f"models:/{registered_model}/1", sha256="0" * 64).json()["type"] == "digest-mismatch"
    with serving(small) as client:
        assert submit(client, f"models:/{registered_model}/1").json()["type"] == "checkpoint-too-large"


@pytest.mark.slow
def test_what_cannot_be_fetched_is_explained_and_not_kept(
    client: TestClient, knowing: Settings, tracking: "MlflowClient", registered_model: str, tmp_path: Path
) -> None:
    tracking.create_model_version(registered_model, "s3://bucket/model")
    text = tmp_path / "notes.txt"
    text.write_text("no checkpoint")
    register(tracking, f"{registered_model}-notes", text)
    faults = {
        f"models:/{registered_model}/7": ("unknown-model", f"does not know models:/{registered_model}/7"),
        f"models:/{registered_model}@nobody": ("unknown-model", "does not know"),
        f"runs:/{'0' * 32}/checkpoint": ("unknown-model", "does not know"),
        f"models:/{registered_model}/2": ("artifacts-not-served", "stored at s3:"),
        f"models:/{registered_model}/1/other.pt": ("no-such-artifact", "'other.pt'"),
        f"models:/{registered_model}-notes/1": ("no-checkpoint", "mlflow.pytorch.log_state_dict"),
        f"models:/{registered_model}-notes/1/notes.txt": (
            "not-a-checkpoint",
            "neither a safetensors nor a torch checkpoint",
        ),
        f"models:/{registered_model}": ("invalid-reference", "models:/NAME/VERSION"),
        f"models:/{registered_model}/archived": ("unknown-model", "does not know"),
        f"models:/m-{'0' * 32}": ("unknown-model", f"does not know models:/m-{'0' * 32}"),
    }
    for url, (slug, sentence) in faults.items():
        answer = submit(client, url)
        assert (answer.status_code, answer.json()["type"]) == (422, slug), url
        assert sentence in answer.json()["detail"]
    assert stored_files(knowing) == []


def test_without_an_mlflow_server_its_names_mean_nothing(embedded_client: TestClient) -> None:
    answer = submit(embedded_client, "models:/digits/1")
    assert (answer.status_code, answer.json()["type"]) == (422, "no-mlflow-server")
    assert "NERN_MLFLOW_TRACKING_URI" in answer.json()["detail"]


class Handler(BaseHTTPRequestHandler):
    """A stand-in for an MLflow server; records requests."""

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers["Authorization"]))  # type: ignore[attr-defined]
        for prefix, status, body in self.server.answers:  # type: ignore[attr-defined]
            if self.path.startswith(prefix):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if status == 302:
                    self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
                self.end_headers()
                self.wfile.write(body)
                return
        self.send_error(500)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # the handler's own name
        pass


class Stand(ThreadingHTTPServer):
    """A server with a given answer for each prefix of the path."""

    def __init__(self, *answers: tuple[str, int, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.seen: list[tuple[str, str | None]] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


LOCATION = "/prefix/api/2.0/mlflow/model-versions/get-download-uri"


def answered(settings: Settings, stand: Stand, uri: str, **more: Any) -> httpx2.Response:
    """Return the service's answer for a reference, with this server as its MLflow server."""
    changes = {"mlflow_tracking_uri": uri.format(port=stand.server_port), **more}
    with stand, serving(settings.model_copy(update=changes)) as client:
        return submit(client, "models:/digits/1")


@pytest.mark.parametrize(
    "answer",
    [(LOCATION, 302, b""), (LOCATION, 500, b"secret"), (LOCATION, 200, b"<html>"), (LOCATION, 200, b"x" * 2_000_000)],
    ids=["elsewhere", "broken", "no-mlflow", "endless"],
)
def test_a_server_that_answers_otherwise_is_told_without_its_address(
    embedded: Settings, answer: tuple[str, int, bytes]
) -> None:
    stand = Stand(answer)
    told = answered(embedded, stand, "http://127.0.0.1:{port}/prefix/")
    assert told.json()["type"] == "checkpoint-unreachable"
    assert "The MLflow server of this service does not answer correctly" in told.json()["detail"]
    assert "127.0.0.1" not in told.text
    assert "secret" not in told.text
    assert [path for path, _ in stand.seen] == [f"{LOCATION}?name=digits&version=1"]


def test_a_server_that_is_not_there_is_told(embedded: Settings) -> None:
    absent = embedded.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    with serving(absent) as client:
        assert submit(client, "models:/digits/1").json()["type"] == "checkpoint-unreachable"


@pytest.mark.parametrize(
    "place",
    [
        "mlflow-artifacts://elsewhere.example/1/model",
        "https://elsewhere.example/api/2.0/mlflow-artifacts/artifacts/1/model",
        "file:///etc",
        "mlflow-artifacts:/1/../../secrets",
        "/var/lib/mlflow",
    ],
)
def test_artifacts_are_fetched_from_the_server_itself_and_from_below_its_root(embedded: Settings, place: str) -> None:
    stand = Stand((LOCATION, 200, f'{{"artifact_uri": "{place}"}}'.encode()))
    told = answered(embedded, stand, "http://127.0.0.1:{port}/prefix")
    assert told.json()["type"] == "artifacts-not-served"
    assert len(stand.seen) == 1


def test_a_slow_server_takes_no_longer_than_a_fetch_may(embedded: Settings) -> None:
    class Slow(Handler):
        def do_GET(self) -> None:
            threading.Event().wait(3)

    stand = Stand()
    stand.RequestHandlerClass = Slow
    told = answered(embedded, stand, "http://127.0.0.1:{port}", fetch_timeout=timedelta(seconds=0.5))
    assert told.json()["type"] == "checkpoint-unreachable"


@pytest.mark.parametrize(
    ("user", "token", "sent"),
    [
        ("", "", None),
        ("", "t0ken", "Bearer t0ken"),
        ("me:p%40ss@", "", f"Basic {base64.b64encode(b'me:p@ss').decode()}"),
    ],
    ids=["nobody", "token", "password"],
)
def test_the_service_says_who_it_is(embedded: Settings, user: str, token: str, sent: str | None) -> None:
    stand = Stand((LOCATION, 403, b"{}"))
    told = answered(embedded, stand, f"http://{user}127.0.0.1:{{port}}/prefix", mlflow_tracking_token=token)
    assert stand.seen == [(f"{LOCATION}?name=digits&version=1", sent)]
    assert told.json()["type"] == "checkpoint-unreachable"
    assert "has no permission to read" in told.json()["detail"]
