"""Partial and repeated downloads, and downloads of all results of a job."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.kit.fair_shares import FairShares
from app.settings import Settings
from tests.app.conftest import submit
from tests.app.test_jobs_api import IMPORTANCE, dataset_of, finish


@pytest.fixture
def job(client: TestClient, settings: Settings, tmp_path: Path) -> dict[str, Any]:
    """A succeeded job with every kind of result."""
    options = {"importance": True, "architecture": "digits-cnn", "dataset": dataset_of(settings)}
    job = submit(client, options).json()
    finish(settings, job["id"], tmp_path, also=IMPORTANCE)
    view: dict[str, Any] = client.get(job["links"]["self"]).json()
    return view


@pytest.fixture
def address(job: dict[str, Any]) -> str:
    """Return the address of the result `torch`, which has five bytes."""
    return f"/jobs/{job['id']}/artifacts/weights.pt"


ETAG = f'"{hashlib.sha256(b"torch").hexdigest()}"'
DIGEST = f"sha-256=:{base64.b64encode(hashlib.sha256(b'torch').digest()).decode()}:"


def test_everything_that_is_listed_can_be_downloaded_by_its_name(client: TestClient, job: dict[str, Any]) -> None:
    assert len(job["artifacts"]) == 8
    for name, artifact in job["artifacts"].items():
        named, listed = client.get(f"/jobs/{job['id']}/artifacts/{name}"), client.get(artifact["url"])
        assert named.status_code == 200
        assert hashlib.sha256(named.content).hexdigest() == artifact["sha256"]
        for header in ("ETag", "Repr-Digest", "Content-Type", "Content-Disposition", "Content-Security-Policy"):
            assert named.headers.get(header) == listed.headers.get(header)


@pytest.mark.parametrize("name", ["weights.bin", "..%2Fnern.db", "%2Fetc%2Fpasswd", "x" * 1000])
def test_what_is_not_listed_is_not_there(client: TestClient, job: dict[str, Any], name: str) -> None:
    answer = client.get(f"/jobs/{job['id']}/artifacts/{name}")
    assert answer.status_code == 404
    assert answer.json()["type"] in {"no-such-result", "not-found"}


def test_a_download_has_a_name_and_its_digest(client: TestClient, job: dict[str, Any], address: str) -> None:
    headers = client.get(address).headers
    assert headers["Content-Disposition"] == f'attachment; filename="{job["id"]}-weights.pt"'
    assert (headers["ETag"], headers["Repr-Digest"]) == (ETAG, DIGEST)
    assert (headers["Accept-Ranges"], headers["Content-Length"]) == ("bytes", "5")
    assert headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("asked", "content", "told"),
    [
        ("bytes=0-1", b"to", "bytes 0-1/5"),
        ("bytes=1-", b"orch", "bytes 1-4/5"),
        ("bytes=-2", b"ch", "bytes 3-4/5"),
        ("bytes=3-100", b"ch", "bytes 3-4/5"),
        ("bytes=3-" + "9" * 23, b"ch", "bytes 3-4/5"),
        ("bytes=" + "0" * 5000 + "3-", b"ch", "bytes 3-4/5"),
        ("bytes=-" + "9" * 23, b"torch", "bytes 0-4/5"),
    ],
)
def test_a_range_is_sent_alone_with_the_digest_of_the_whole(
    client: TestClient, address: str, asked: str, content: bytes, told: str
) -> None:
    answer = client.get(address, headers={"Range": asked})
    assert (answer.status_code, answer.content, answer.headers["Content-Range"]) == (206, content, told)
    assert (answer.headers["ETag"], answer.headers["Repr-Digest"]) == (ETAG, DIGEST)


@pytest.mark.parametrize("asked", ["bytes=5-", "bytes=99999999999999999999-", "bytes=-0"])
def test_a_range_behind_the_end_is_a_problem_that_tells_the_size(client: TestClient, address: str, asked: str) -> None:
    answer = client.get(address, headers={"Range": asked})
    assert (answer.status_code, answer.json()["type"]) == (416, "range-not-satisfiable")
    assert answer.headers["Content-Range"] == "bytes */5"
    assert "after the 5 bytes" in answer.json()["detail"]


@pytest.mark.parametrize("asked", ["bytes", "bytes=", "bytes=2-1", "lines=1-2", "bytes=0-0,2-2", "bytes=a-b"])
def test_what_is_no_single_range_gets_the_whole(client: TestClient, address: str, asked: str) -> None:
    answer = client.get(address, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, b"torch")


@pytest.mark.parametrize(
    ("etag", "status", "content"), [(ETAG, 206, b"ch"), ('"another"', 200, b"torch"), (f"W/{ETAG}", 200, b"torch")]
)
def test_a_download_goes_on_if_the_file_is_still_the_same(
    client: TestClient, address: str, etag: str, status: int, content: bytes
) -> None:
    answer = client.get(address, headers={"Range": "bytes=3-", "If-Range": etag})
    assert (answer.status_code, answer.content) == (status, content)


@pytest.mark.parametrize("known", [ETAG, f"W/{ETAG}", f'"another", {ETAG}', "*"])
def test_what_the_client_has_is_not_sent_again(client: TestClient, address: str, known: str) -> None:
    answer = client.get(address, headers={"If-None-Match": known, "Range": "bytes=0-1"})
    assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", ETAG)


@pytest.mark.parametrize("known", ['"another"', ETAG.strip('"'), ETAG[:-2] + '"'])
def test_what_the_client_does_not_have_is_sent(client: TestClient, address: str, known: str) -> None:
    assert client.get(address, headers={"If-None-Match": known}).content == b"torch"


@pytest.mark.parametrize(
    "path", ["/artifacts/weights.pt", "/weights", "/encoding", "/report", "/report?format=html", "/importance"]
)
def test_a_head_tells_the_same_without_the_file(client: TestClient, job: dict[str, Any], path: str) -> None:
    head, whole = client.head(f"/jobs/{job['id']}{path}"), client.get(f"/jobs/{job['id']}{path}")
    assert (head.status_code, head.content) == (200, b"")
    for header in ("Content-Length", "ETag", "Repr-Digest", "Content-Type", "Content-Disposition", "Accept-Ranges"):
        assert head.headers[header] == whole.headers[header]


def test_one_tenant_has_half_of_the_places_for_downloads(
    client: TestClient, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = FairShares(2)
    monkeypatch.setattr("app.http.downloads._places", lambda: places)
    assert [client.get(address).status_code for _ in range(3)] == [200] * 3
    assert places.take("default")
    refused = client.get(address)
    assert (refused.status_code, refused.json()["type"], refused.headers["Retry-After"]) == (
        429,
        "too-many-downloads",
        "10",
    )
