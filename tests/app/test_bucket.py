"""The API with a bucket: all operations on files, and the errors while the bucket is unreachable."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from starlette.testclient import TestClient

from app.settings import Downloads, Settings
from app.storage import open_store
from tests.app.conftest import serving, submit
from tests.app.test_jobs_api import IMPORTANCE, dataset_of, finish
from tests.app.uploads.test_uploads_api import begin, offset_of, send
from tests.conftest import EXAMPLE
from tests.nern_client.conftest import listening, succeed
from tests.s3 import FaultyBucket, bucket_of, keys_of

CONTENT = EXAMPLE.read_bytes()
DIGEST = hashlib.sha256(CONTENT).hexdigest()
WEIGHTS = hashlib.sha256(b"torch").hexdigest()


@pytest.fixture
def client(with_bucket: Settings) -> Iterator[TestClient]:
    with serving(with_bucket) as client:
        yield client


def finished(client: TestClient, settings: Settings, tmp_path: Path) -> str:
    """Address of a job that has succeeded."""
    options = {"importance": True, "architecture": "digits-cnn", "dataset": dataset_of(settings)}
    job = submit(client, options).json()
    finish(settings, job["id"], tmp_path, also=IMPORTANCE)
    address: str = job["links"]["self"]
    return address


def test_an_accepted_checkpoint_is_in_the_bucket_and_nowhere_else(client: TestClient, with_bucket: Settings) -> None:
    assert submit(client).json()["checkpoint"]["sha256"] == DIGEST
    found = open_store(with_bucket).open(DIGEST)
    assert (keys_of(with_bucket, "artifacts"), found.read()) == ([DIGEST], CONTENT)
    assert [path.name for path in with_bucket.artifacts.rglob("*") if path.is_file()] == ["lock"]


def test_a_refused_checkpoint_never_comes_into_the_bucket(client: TestClient, with_bucket: Settings) -> None:
    assert submit(client, checkpoint=b"no checkpoint").status_code == 422
    assert keys_of(with_bucket, "artifacts") == []
    assert list((with_bucket.artifacts / "incoming").iterdir()) == []


def test_a_job_may_name_a_checkpoint_that_was_sent_before(client: TestClient) -> None:
    assert client.post("/checkpoints", content=CONTENT).status_code == 201
    answer = client.post("/jobs", json={"checkpoint": {"sha256": DIGEST}, "options": {"kernels": ["features.*"]}})
    assert answer.status_code == 202
    refused = client.post("/jobs", json={"checkpoint": {"sha256": DIGEST}, "options": {"kernels": ["nothing"]}})
    assert (refused.status_code, refused.json()["type"]) == (422, "unmatched-pattern")


def test_an_upload_in_pieces_ends_in_the_bucket(client: TestClient, with_bucket: Settings) -> None:
    address = begin(client).headers["Location"]
    assert send(client, address, 0, CONTENT[:1000]).status_code == 204
    assert send(client, address, 1000, CONTENT[1000:]).status_code == 204
    assert keys_of(with_bucket, "artifacts") == [DIGEST]
    assert list((with_bucket.artifacts / "partial").iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [({}, 200, b"torch"), ({"Range": "bytes=1-2"}, 206, b"or"), ({"Range": "bytes=-2"}, 206, b"ch")],
)
def test_results_come_through_the_api(
    client: TestClient, with_bucket: Settings, tmp_path: Path, asked: dict[str, str], status: int, content: bytes
) -> None:
    address = finished(client, with_bucket, tmp_path)
    answer = client.get(f"{address}/weights?format=pt", headers=asked)
    assert (answer.status_code, answer.content, answer.headers["ETag"]) == (status, content, f'"{WEIGHTS}"')
    assert answer.headers["Content-Length"] == str(len(content))


@pytest.mark.parametrize("damage", [b"tOrch", b"torc", b""])
@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=0-0"}])
def test_a_damaged_result_is_not_sent(
    client: TestClient, with_bucket: Settings, tmp_path: Path, damage: bytes, asked: dict[str, str]
) -> None:
    address = f"{finished(client, with_bucket, tmp_path)}/weights?format=pt"
    assert client.get(address).content == b"torch"
    bucket_of(with_bucket).put(f"artifacts/{WEIGHTS}", damage)
    answer = client.get(address, headers=asked)
    assert (answer.status_code, answer.json()["type"]) == (500, "damaged-result")
    bucket_of(with_bucket).delete(f"artifacts/{WEIGHTS}")
    assert client.get(address, headers=asked).json()["type"] == "damaged-result"


def test_a_large_damaged_result_breaks_off_before_its_end(with_bucket: Settings) -> None:
    content = bytes(range(256)) * (9 * 2**12)
    with listening(with_bucket) as port, httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
        job = client.post("/jobs", files={"checkpoint": CONTENT}).raise_for_status().json()
        succeed(with_bucket, job["id"], {"weights.pt": content})
        address = f"{job['links']['self']}/weights?format=pt"
        assert client.get(address).content == content
        bucket_of(with_bucket).put(f"artifacts/{hashlib.sha256(content).hexdigest()}", b"?" + content[1:])
        with pytest.raises(httpx2.RemoteProtocolError):
            client.get(address)


@pytest.fixture
def redirecting(with_bucket: Settings) -> Settings:
    return with_bucket.model_copy(update={"downloads": Downloads.REDIRECTED})


def test_redirected_clients_get_the_same_from_the_bucket(redirecting: Settings, tmp_path: Path) -> None:
    with serving(redirecting) as client:
        address = finished(client, redirecting, tmp_path)
        proxied = client.head(f"{address}/weights?format=pt")
        answer = client.get(f"{address}/weights?format=pt", follow_redirects=False)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (307, "no-store")
    assert answer.headers["ETag"] == f'"{WEIGHTS}"'
    location = answer.headers["Location"]
    assert parse_qs(urlsplit(location).query)["X-Amz-Expires"] == ["300"]
    found = httpx2.get(location)
    assert (found.status_code, found.content) == (200, b"torch")
    for header in ("Content-Type", "Content-Disposition", "Content-Length"):
        assert found.headers[header] == proxied.headers[header]
    part = httpx2.get(location, headers={"Range": "bytes=1-2"})
    assert (part.status_code, part.content) == (206, b"or")


def test_what_a_browser_shows_comes_from_the_api_with_its_policy(redirecting: Settings, tmp_path: Path) -> None:
    with serving(redirecting) as client:
        address = finished(client, redirecting, tmp_path)
        for name in ("report.html", "report.json", "pruning-curve.svg"):
            answer = client.get(f"{address}/artifacts/{name}", follow_redirects=False)
            assert answer.status_code == 200
            shown = answer.headers["Content-Disposition"] == "inline"
            assert shown == ("img-src data:" in answer.headers["Content-Security-Policy"]) == (name != "report.json")


def test_nobody_is_redirected_to_what_is_known_or_gone(redirecting: Settings, tmp_path: Path) -> None:
    with serving(redirecting) as client:
        address = f"{finished(client, redirecting, tmp_path)}/weights?format=pt"
        known = client.get(address, headers={"If-None-Match": f'"{WEIGHTS}"'}, follow_redirects=False)
        bucket_of(redirecting).put(f"artifacts/{WEIGHTS}", b"another size")
        damaged = client.get(address, follow_redirects=False)
    assert known.status_code == 304
    assert (damaged.status_code, damaged.json()["type"]) == (500, "damaged-result")


def requests_for(client: TestClient, address: str) -> list[httpx2.Response]:
    """Send one request of each kind that needs the bucket."""
    return [
        submit(client),
        client.post("/checkpoints", content=CONTENT),
        client.post("/jobs", json={"checkpoint": {"sha256": DIGEST}}),
        client.get(f"{address}/weights?format=pt"),
        client.head(f"{address}/weights?format=pt"),
        client.get("/readyz"),
    ]


def test_while_the_bucket_is_away_requests_are_to_be_sent_again(faulty: FaultyBucket, tmp_path: Path) -> None:
    with serving(faulty.settings) as client:
        address = finished(client, faulty.settings, tmp_path)
        assert client.post("/checkpoints", content=CONTENT).status_code == 201
        faulty.proxy.go_down()
        answers = requests_for(client, address)
        assert {answer.status_code for answer in answers} == {503}
        assert all("Retry-After" in answer.headers for answer in answers)
        assert answers[0].json()["type"] == "storage-unavailable"
        assert [client.get(path).status_code for path in (address, "/jobs", "/livez")] == [200] * 3
        faulty.proxy.heal()
        assert [answer.status_code for answer in requests_for(client, address)] == [202, 201, 202, 200, 200, 200]


def test_a_request_that_met_an_outage_gives_its_key_back(faulty: FaultyBucket) -> None:
    headers: dict[str, Any] = {"Idempotency-Key": '"k"'}
    with serving(faulty.settings) as client:
        faulty.proxy.go_down()
        assert submit(client, headers=headers).status_code == 503
        faulty.proxy.heal()
        assert submit(client, headers=headers).status_code == 202


def test_the_end_of_an_upload_in_pieces_can_be_sent_again(faulty: FaultyBucket) -> None:
    with serving(faulty.settings) as client:
        address = begin(client).headers["Location"]
        send(client, address, 0, CONTENT[:1000])
        faulty.proxy.go_down()
        refused = send(client, address, 1000, CONTENT[1000:])
        assert (refused.status_code, refused.headers["Tus-Resumable"]) == (503, "1.0.0")
        faulty.proxy.heal()
        offset = offset_of(client, address)
        assert send(client, address, offset, CONTENT[offset:]).status_code == 204
        assert client.get(f"/checkpoints/{DIGEST}").status_code == 200
