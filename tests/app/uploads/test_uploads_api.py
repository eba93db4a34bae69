import base64
import errno
import fcntl
import hashlib
import os
from collections.abc import Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db.engine import create_sessions
from app.retention.collector import Collector
from app.settings import Settings
from app.storage.folder import FolderStore
from app.uploads.models import PartialUpload
from app.uploads.partial import PartialUploads
from tests.app.conftest import serving, stored_files
from tests.app.retention.test_collector import age
from tests.conftest import EXAMPLE, transaction

CONTENT = EXAMPLE.read_bytes()
DIGEST = hashlib.sha256(CONTENT).hexdigest()
TUS = {"Tus-Resumable": "1.0.0"}
PIECE = TUS | {"Content-Type": "application/offset+octet-stream"}


def metadata(sha256: str) -> str:
    return f"filename {base64.b64encode(b'a.pt').decode()},sha256 {base64.b64encode(sha256.encode()).decode()}"


METADATA = metadata(DIGEST)


def latin(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return headers as bytes, which may be more than ASCII."""
    return {name.encode(): value.encode() for name, value in headers.items()}


def begin(client: TestClient, sha256: str = DIGEST, length: int = len(CONTENT)) -> httpx2.Response:
    headers = TUS | {"Upload-Length": str(length), "Upload-Metadata": metadata(sha256)}
    return client.post("/uploads", headers=headers)


def send(client: TestClient, address: str, offset: int, content: bytes) -> httpx2.Response:
    return client.patch(address, content=content, headers=PIECE | {"Upload-Offset": str(offset)})


def offset_of(client: TestClient, address: str) -> int:
    return int(client.head(address, headers=TUS).headers["Upload-Offset"])


def files_of(settings: Settings) -> list[Path]:
    return list((settings.artifacts / "partial").iterdir())


def test_a_checkpoint_arrives_piece_by_piece(client: TestClient, settings: Settings) -> None:
    begun = begin(client)
    address = begun.headers["Location"]
    assert (begun.status_code, offset_of(client, address)) == (201, 0)
    for start in range(0, len(CONTENT), 20_000):
        piece = CONTENT[start : start + 20_000]
        answer = send(client, address, start, piece)
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(start + len(piece)))
    assert client.get(f"/checkpoints/{DIGEST}").json()["bytes"] == len(CONTENT)
    assert FolderStore(settings.artifacts).path(DIGEST).read_bytes() == CONTENT
    assert files_of(settings) == []
    assert client.post("/jobs", json={"checkpoint": {"sha256": DIGEST}}).status_code == 202
    assert offset_of(client, address) == len(CONTENT)


def test_the_file_name_in_the_metadata_is_the_default_name_of_jobs(client: TestClient) -> None:
    send(client, begin(client).headers["Location"], 0, CONTENT)
    assert client.post("/jobs", json={"checkpoint": {"sha256": DIGEST}}).json()["name"] == "a.pt"


def test_what_can_be_uploaded_is_told(embedded_client: TestClient) -> None:
    answer = embedded_client.options("/uploads")
    assert answer.status_code == 204
    assert {name: answer.headers[name] for name in ("Tus-Version", "Tus-Extension", "Tus-Max-Size")} == {
        "Tus-Version": "1.0.0",
        "Tus-Extension": "creation,expiration,termination",
        "Tus-Max-Size": str(8 * 2**30),
    }


def test_the_state_of_an_upload_is_told_and_never_cached(embedded_client: TestClient) -> None:
    begun = begin(embedded_client)
    answer = embedded_client.head(begun.headers["Location"], headers=TUS)
    assert (answer.status_code, answer.headers["Upload-Length"]) == (200, str(len(CONTENT)))
    assert (answer.headers["Cache-Control"], answer.headers["Tus-Resumable"]) == ("no-store", "1.0.0")
    assert parsedate_to_datetime(answer.headers["Upload-Expires"]) == parsedate_to_datetime(
        begun.headers["Upload-Expires"]
    )


@pytest.mark.parametrize("version", [None, "0.2.2"])
def test_another_version_of_the_protocol_is_refused(embedded_client: TestClient, version: str | None) -> None:
    answer = embedded_client.post("/uploads", headers={} if version is None else {"Tus-Resumable": version})
    assert (answer.status_code, answer.json()["type"]) == (412, "other-tus-version")
    assert (answer.headers["Tus-Version"], answer.headers["Tus-Resumable"]) == ("1.0.0", "1.0.0")


def test_a_piece_for_another_offset_is_refused_with_the_right_one(client: TestClient) -> None:
    address = begin(client).headers["Location"]
    send(client, address, 0, CONTENT[:100])
    for offset in (0, 99, 101, len(CONTENT)):
        answer = send(client, address, offset, b"x")
        assert (answer.status_code, answer.json()["type"], answer.headers["Upload-Offset"]) == (
            409,
            "wrong-offset",
            "100",
        )


@pytest.mark.parametrize("number", ["+5", "5.0", "1_0", "-0", "5e0", "\u0665"])
def test_a_length_or_offset_is_decimal_digits(embedded_client: TestClient, number: str) -> None:
    address = begin(embedded_client).headers["Location"]
    begun = embedded_client.post(
        "/uploads", headers=latin(TUS | {"Upload-Length": number, "Upload-Metadata": METADATA})
    )
    continued = embedded_client.patch(address, headers=latin(PIECE | {"Upload-Offset": number}))
    assert (begun.status_code, continued.status_code) == (422, 422)


def test_other_bytes_than_were_announced_are_refused_and_not_kept(client: TestClient, settings: Settings) -> None:
    address = begin(client, "0" * 64).headers["Location"]
    answer = send(client, address, 0, CONTENT)
    assert (answer.status_code, answer.json()["type"]) == (422, "digest-mismatch")
    assert stored_files(settings) == []
    assert client.head(address, headers=TUS).status_code == 404


def test_answers_of_the_protocol_have_no_body(embedded_client: TestClient) -> None:
    begun = begin(embedded_client)
    address = begun.headers["Location"]
    answers = [
        begun,
        embedded_client.head(address, headers=TUS),
        send(embedded_client, address, 0, CONTENT[:10]),
        embedded_client.delete(address, headers=TUS),
        embedded_client.options("/uploads"),
    ]
    assert [answer.status_code for answer in answers] == [201, 200, 204, 204, 204]
    assert {answer.content for answer in answers} == {b""}
    assert {answer.headers.get("Content-Length", "0") for answer in answers} == {"0"}
    assert {answer.headers.get("Content-Type") for answer in answers} == {None}


def test_what_is_no_checkpoint_is_refused_and_not_kept(embedded_client: TestClient, embedded: Settings) -> None:
    content = b"not a checkpoint at all"
    address = begin(embedded_client, hashlib.sha256(content).hexdigest(), len(content)).headers["Location"]
    answer = send(embedded_client, address, 0, content)
    assert (answer.status_code, answer.json()["type"]) == (422, "not-a-checkpoint")
    assert stored_files(embedded) == []


def test_more_bytes_than_were_announced_are_refused(embedded_client: TestClient) -> None:
    address = begin(embedded_client, length=10).headers["Location"]
    answer = send(embedded_client, address, 0, bytes(11))
    assert (answer.status_code, answer.json()["type"]) == (413, "beyond-upload-length")
    assert answer.json()["detail"] == (
        "The upload was begun with Upload-Length: 10, and more bytes than that have come. Send the file from byte 0 to "
        "its end and no more, or begin another upload with its right length."
    )
    assert offset_of(embedded_client, address) == 0


def test_bytes_of_another_media_type_are_refused(embedded_client: TestClient) -> None:
    address = begin(embedded_client).headers["Location"]
    answer = embedded_client.patch(address, content=b"x", headers=TUS | {"Upload-Offset": "0"})
    assert (answer.status_code, answer.json()["type"]) == (415, "not-a-piece")


@pytest.mark.parametrize(
    "given", ["", "filename YQ==", "sha256 ====", "sha256", metadata("A" * 64), metadata("0" * 63), f"sha256 {DIGEST}"]
)
def test_an_upload_needs_the_digest_of_the_whole(embedded_client: TestClient, given: str) -> None:
    answer = embedded_client.post("/uploads", headers=TUS | {"Upload-Length": "5", "Upload-Metadata": given})
    assert (answer.status_code, answer.json()["type"]) == (422, "missing-digest")


def test_uploads_are_limited_in_size_and_number(embedded: Settings) -> None:
    small = embedded.model_copy(update={"max_upload_bytes": 1000, "max_partial_uploads": 2})
    with serving(small) as client:
        answers = [begin(client, length=length) for length in (1001, 1000, 1000, 1000)]
        assert [answer.status_code for answer in answers] == [413, 201, 201, 429]
        assert answers[-1].json()["type"] == "too-many-uploads"
        assert len(files_of(small)) == 2
        client.delete(answers[1].headers["Location"], headers=TUS)
        assert begin(client, length=1000).status_code == 201


def test_an_upload_that_does_not_leave_the_reserve_free_is_refused(embedded: Settings) -> None:
    full = embedded.model_copy(update={"disk_reserve": 2**60})
    with serving(full) as client:
        answer = begin(client)
    assert (answer.status_code, answer.json()["type"], answer.headers["Tus-Resumable"]) == (507, "disk-full", "1.0.0")


def test_a_disk_on_which_no_file_can_be_created_is_a_full_disk(
    embedded_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touch(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    started = begin(embedded_client).headers["Location"]
    monkeypatch.setattr(Path, "touch", touch)
    refused = begin(embedded_client, "0" * 64)
    assert (refused.status_code, refused.json()["type"]) == (507, "disk-full")
    refused = send(embedded_client, started, 0, CONTENT)
    assert (refused.status_code, refused.json()["type"]) == (507, "disk-full")


def test_an_upload_that_is_given_up_leaves_nothing(client: TestClient, settings: Settings) -> None:
    address = begin(client).headers["Location"]
    send(client, address, 0, CONTENT[:100])
    assert [client.delete(address, headers=TUS).status_code for _ in range(2)] == [204, 404]
    assert send(client, address, 100, CONTENT[100:]).status_code == 404
    assert stored_files(settings) == []


def test_an_upload_that_is_written_to_is_not_given_up_with_its_bytes_on_the_disk(
    client: TestClient, settings: Settings
) -> None:
    address = begin(client).headers["Location"]
    send(client, address, 0, CONTENT[:100])
    (path,) = stored_files(settings)
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        answer = client.delete(address, headers=TUS)
        assert (answer.status_code, answer.json()["type"], answer.headers["Retry-After"]) == (423, "upload-locked", "2")
    assert client.delete(address, headers=TUS).status_code == 204


def test_only_one_request_at_a_time_writes_to_an_upload(client: TestClient) -> None:
    address = begin(client).headers["Location"]
    answers: list[httpx2.Response] = []
    # The test client sends a body only as a whole, so the test takes the lock from the service instead.
    uploads: PartialUploads = client.app.state.services.partial_uploads  # type: ignore[attr-defined]
    appender = uploads.append("default", address.rpartition("/")[2], 0)
    answers.append(send(client, address, 0, CONTENT))
    appender.write(CONTENT[:100])
    appender.close()
    answers.append(send(client, address, 100, CONTENT[100:]))
    assert [answer.status_code for answer in answers] == [423, 204]
    assert (answers[0].json()["type"], answers[0].headers["Retry-After"]) == ("upload-locked", "2")


def test_bytes_beyond_what_the_row_knows_are_written_again(client: TestClient, settings: Settings) -> None:
    """A process was killed after the write and before the update of the row."""
    address = begin(client).headers["Location"]
    send(client, address, 0, CONTENT[:100])
    with files_of(settings)[0].open("ab") as file:
        file.write(b"never told")
    assert offset_of(client, address) == 100
    assert send(client, address, 100, CONTENT[100:]).status_code == 204
    assert client.get(f"/checkpoints/{DIGEST}").status_code == 200


def test_a_process_killed_between_the_move_and_the_row_loses_nothing(client: TestClient, settings: Settings) -> None:
    address = begin(client).headers["Location"]
    send(client, address, 0, CONTENT[:-1])
    file = files_of(settings)[0]
    file.write_bytes(CONTENT)
    file.with_name(f"{file.name}.checked").touch()
    FolderStore(settings.artifacts).adopt(file, DIGEST)
    assert offset_of(client, address) == len(CONTENT)
    assert client.get(f"/checkpoints/{DIGEST}").status_code == 200


def test_nobody_gets_a_checkpoint_whose_bytes_they_have_not_sent(client: TestClient, settings: Settings) -> None:
    """The file is on the disk of another API; another tenant's file with that digest is in the store."""
    address = begin(client).headers["Location"]
    FolderStore(settings.artifacts).put(EXAMPLE)
    files_of(settings)[0].unlink()
    assert client.head(address, headers=TUS).status_code == 404
    assert client.get(f"/checkpoints/{DIGEST}").status_code == 404


def test_an_upload_whose_bytes_are_lost_is_unknown(client: TestClient, settings: Settings) -> None:
    address = begin(client).headers["Location"]
    files_of(settings)[0].unlink()
    assert client.head(address, headers=TUS).status_code == 404
    assert send(client, address, 0, CONTENT).status_code == 404


def test_abandoned_uploads_expire_and_their_bytes_go(client: TestClient, settings: Settings) -> None:
    kept, abandoned = begin(client).headers["Location"], begin(client).headers["Location"]
    with transaction(settings) as session:
        for upload in session.scalars(select(PartialUpload)):
            if abandoned.endswith(upload.id):
                upload.expires_at -= timedelta(days=2)
    (settings.artifacts / "partial" / "of-a-dead-process").touch()
    age(settings.artifacts)
    sessions = create_sessions(settings)
    Collector(settings, sessions, FolderStore(settings.artifacts)).round()
    sessions.kw["bind"].dispose()
    assert [path.name for path in files_of(settings)] == [kept.rpartition("/")[2]]
    assert client.head(abandoned, headers=TUS).status_code == 404
    assert offset_of(client, kept) == 0
