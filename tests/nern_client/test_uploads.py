import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ByteSize

from app.settings import Settings
from nern_client import Checkpoint, Client, InvalidRequest, ServerError, ServerUnreachable, upload
from nern_client.upload import LARGEST_IN_ONE_PIECE
from tests.nern_client.conftest import QUICK, listening
from tests.nern_client.wire import Wire, cut_request, lose_answer, refuse, reset, wire_to

MIB = 2**20
SIZE = 12
SEED = 13


@pytest.fixture
def wire(embedded: Settings) -> Iterator[Wire]:
    """A wire to an API of the test alone, because tests look for files in its store."""
    with listening(embedded) as port, wire_to(port) as wire:
        yield wire


def test_64_mebibytes_go_in_one_piece() -> None:
    assert LARGEST_IN_ONE_PIECE == 64 * MIB


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint that counts as large in these tests."""
    monkeypatch.setattr(upload, "LARGEST_IN_ONE_PIECE", MIB)
    shape = [SIZE * MIB // 64, 1, 4, 4]
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, SIZE * MIB]}}).encode()
    path = tmp_path / "large.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + random.Random(SEED).randbytes(SIZE * MIB))
    return path


def stored(settings: Settings, path: Path) -> bool:
    """Return true if the service has this file, byte for byte."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return [file.read_bytes() for file in settings.artifacts.rglob(digest)] == [content]


def test_a_large_checkpoint_goes_on_after_every_cut(
    client: Client, wire: Wire, embedded: Settings, checkpoint: Path, cache: Path
) -> None:
    slow = refuse("408 Request Timeout")
    wire.harm("PATCH", cut_request(5 * MIB), reset, cut_request(MIB), refuse("503 Busy", "Retry-After: 0"), slow)
    wire.harm("HEAD", reset)
    wire.harm("POST /uploads", lose_answer)
    found = client.checkpoints.upload(checkpoint)
    assert (found.bytes, found.name) == (checkpoint.stat().st_size, checkpoint.name)
    assert client.jobs.create(Checkpoint.model_validate(found.model_dump() | {"name": None})).name == checkpoint.name
    assert stored(embedded, checkpoint)
    assert not any(line for line in wire.seen if line.startswith("POST /checkpoints"))
    offsets = [
        int(line.removeprefix("upload-offset: "))
        for head in wire.heads
        for line in head.splitlines()
        if line.startswith("upload-offset: ")
    ]
    assert offsets == sorted(offsets)
    assert offsets[-1] > 0
    assert list(cache.rglob("*/uploads/*")) == []


def test_another_process_goes_on_with_an_upload(
    client: Client, wire: Wire, embedded: Settings, checkpoint: Path
) -> None:
    wire.harm("PATCH", cut_request(9 * MIB), *[reset] * 30)
    with pytest.raises(ServerUnreachable):
        client.checkpoints.upload(checkpoint)
    wire.faults.clear()
    wire.heads.clear()
    with Client(wire.url, retries=QUICK) as another:
        another.checkpoints.upload(checkpoint)
    assert stored(embedded, checkpoint)
    assert [line for line in wire.seen if line == "POST /uploads"] == ["POST /uploads"]
    [going_on] = [head for head in wire.heads if head.startswith("patch")]
    assert "upload-offset: 0" not in going_on


def test_an_answer_that_is_lost_at_the_very_end_costs_nothing(
    client: Client, wire: Wire, embedded: Settings, checkpoint: Path
) -> None:
    wire.harm("PATCH", lose_answer)
    client.checkpoints.upload(checkpoint)
    assert stored(embedded, checkpoint)
    assert sum(line.startswith("PATCH") for line in wire.seen) == 1


def test_an_upload_that_the_server_has_forgotten_begins_anew(
    client: Client, wire: Wire, embedded: Settings, checkpoint: Path
) -> None:
    wire.harm("HEAD", refuse("404 Not Found", "Content-Type: application/problem+json"))
    client.checkpoints.upload(checkpoint)
    assert stored(embedded, checkpoint)
    assert wire.seen.count("POST /uploads") == 2


def test_an_upload_that_a_full_disk_has_stopped_goes_on_later(
    client: Client, wire: Wire, embedded: Settings, checkpoint: Path
) -> None:
    wire.harm("PATCH", refuse("507 Insufficient Storage", "Retry-After: 600"))
    with pytest.raises(ServerError):
        client.checkpoints.upload(checkpoint)
    client.checkpoints.upload(checkpoint)
    assert stored(embedded, checkpoint)
    assert wire.seen.count("POST /uploads") == 1


@pytest.mark.parametrize("size", [100, 2 * MIB])
def test_what_is_no_checkpoint_is_refused_at_once(client: Client, wire: Wire, checkpoint: Path, size: int) -> None:
    checkpoint.write_bytes(b"x" * size)
    with pytest.raises(InvalidRequest, match="neither a safetensors nor a torch checkpoint"):
        client.checkpoints.upload(checkpoint)
    assert sum(line.startswith(("PATCH", "POST")) for line in wire.seen) <= 2


def test_a_small_checkpoint_that_is_cut_is_sent_again(
    client: Client, wire: Wire, embedded: Settings, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "LARGEST_IN_ONE_PIECE", 64 * MIB)
    wire.harm("POST /checkpoints", cut_request(MIB), lose_answer)
    client.checkpoints.upload(checkpoint)
    assert stored(embedded, checkpoint)
    assert wire.seen.count("POST /checkpoints") == 3


@pytest.mark.parametrize("in_pieces", [False, True])
def test_what_is_too_large_is_told_although_nobody_reads_to_its_end(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, in_pieces: bool
) -> None:
    monkeypatch.setattr(upload, "LARGEST_IN_ONE_PIECE", MIB if in_pieces else 64 * MIB)
    settings = Settings(data_dir=tmp_path / "small", max_upload_bytes=ByteSize(MIB))
    with listening(settings) as port, Client(f"http://127.0.0.1:{port}", retries=QUICK) as client:
        for _ in range(5):
            with pytest.raises(InvalidRequest, match="over the limit of 1,048,576 bytes"):
                client.checkpoints.upload(checkpoint)
