import hashlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from nern_client import Client, DigestMismatch, NoSuchArtifact, ServerUnreachable
from tests.conftest import EXAMPLE
from tests.nern_client.conftest import fail, publish, store, succeed
from tests.nern_client.wire import (
    Wire,
    cut_answer,
    cut_long_answer,
    damage,
    lose_answer,
    nothing_wrong,
    refuse,
    reset,
    without_ranges,
)

SEED = 11
CONTENT = random.Random(SEED).randbytes(2**20)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = "weights.safetensors"
DOWNLOAD = "GET /jobs/{}/weights"


@pytest.fixture
def job_id(client: Client, served: Settings) -> str:
    """A job with results."""
    job = client.jobs.create(EXAMPLE)
    succeed(served, job.id, {NAME: CONTENT})
    return job.id


def ranges(wire: Wire) -> list[str]:
    """Return the requested ranges in order."""
    return [line.partition(": ")[2] for head in wire.heads for line in head.splitlines() if line.startswith("range:")]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_a_result_arrives_under_its_name_when_it_is_whole(client: Client, job_id: str, tmp_path: Path) -> None:
    target = tmp_path / "mine.safetensors"
    target.write_bytes(b"an older one")
    assert client.jobs.download(job_id, NAME, target) == target
    assert target.read_bytes() == CONTENT
    assert files(tmp_path) == [target.name]


def test_a_download_that_is_cut_five_times_goes_on_and_has_the_digest(
    client: Client, wire: Wire, job_id: str, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    left, offsets = len(CONTENT), []
    for _ in range(5):
        cut = dice.randrange(1, left // 2)
        wire.harm(DOWNLOAD.format(job_id), cut_answer(cut))
        left -= cut
        offsets.append(len(CONTENT) - left)
    client.jobs.download(job_id, NAME, tmp_path / NAME)
    assert hashlib.sha256((tmp_path / NAME).read_bytes()).hexdigest() == DIGEST
    assert ranges(wire) == [f"bytes={offset}-" for offset in offsets]
    assert all(f'if-range: "{DIGEST}"' in head for head in wire.heads if "range: bytes" in head)
    assert files(tmp_path) == [NAME]


@pytest.mark.slow
def test_a_download_of_1_gib_that_is_cut_five_times_goes_on_and_has_the_digest(
    client: Client, wire: Wire, served: Settings, tmp_path: Path
) -> None:
    job, artifact = client.jobs.create(EXAMPLE), store(served, different_blocks(2**10))
    publish(served, job.id, {NAME: artifact})
    assert artifact.size == 2**30
    cuts = sorted(random.Random(SEED).sample(range(1, artifact.size), 5))
    parts = [end - start for start, end in itertools.pairwise([0, *cuts])]
    wire.harm(DOWNLOAD.format(job.id), *map(cut_long_answer, parts), cut_long_answer(artifact.size))
    client.jobs.download(job.id, NAME, tmp_path / NAME)
    with (tmp_path / NAME).open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == artifact.sha256
    assert ranges(wire) == [f"bytes={cut}-" for cut in cuts]
    assert files(tmp_path) == [NAME]


def different_blocks(count: int) -> Iterator[bytes]:
    """Yield `count` different blocks of 1 MiB."""
    block = bytearray(random.Random(SEED).randbytes(2**20))
    for number in range(count):
        block[:8] = number.to_bytes(8, "little")
        yield bytes(block)


def test_cuts_that_let_something_through_cost_no_patience(
    client: Client, wire: Wire, job_id: str, tmp_path: Path
) -> None:
    wire.harm(DOWNLOAD.format(job_id), *[cut_answer(1000)] * 30)
    client.jobs.download(job_id, NAME, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_server_without_ranges_sends_everything_again(
    client: Client, wire: Wire, job_id: str, tmp_path: Path
) -> None:
    wire.harm(DOWNLOAD.format(job_id), cut_answer(5000), without_ranges)
    client.jobs.download(job_id, NAME, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_another_call_goes_on_with_what_the_first_one_left(
    client: Client, wire: Wire, job_id: str, tmp_path: Path
) -> None:
    wire.harm(DOWNLOAD.format(job_id), cut_answer(5000), *[reset] * 9)
    with pytest.raises(ServerUnreachable):
        client.jobs.download(job_id, NAME, tmp_path / NAME)
    assert files(tmp_path) == [f".{NAME}.{DIGEST[:16]}.part"]
    client.jobs.download(job_id, NAME, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert set(ranges(wire)) == {"bytes=5000-"}
    assert files(tmp_path) == [NAME]


@pytest.mark.parametrize("left", [b"something else", CONTENT + b"more", CONTENT[:-1] + b"?"])
def test_what_was_damaged_meanwhile_is_fetched_anew(client: Client, job_id: str, tmp_path: Path, left: bytes) -> None:
    (tmp_path / f".{NAME}.{DIGEST[:16]}.part").write_bytes(left)
    client.jobs.download(job_id, NAME, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert files(tmp_path) == [NAME]


def test_what_has_another_digest_is_not_kept(client: Client, wire: Wire, job_id: str, tmp_path: Path) -> None:
    wire.harm(DOWNLOAD.format(job_id), damage)
    with pytest.raises(DigestMismatch, match="does not have the SHA-256 of the job's result"):
        client.jobs.download(job_id, NAME, tmp_path / NAME)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "answer",
    [
        refuse("206 Partial Content", "Content-Range: bytes 7-9/1048576", body="abc"),
        refuse("200 OK", body="x" * (len(CONTENT) + 1)),
    ],
)
def test_another_range_or_too_much_is_not_kept(
    client: Client, wire: Wire, job_id: str, tmp_path: Path, answer: object
) -> None:
    wire.harm(DOWNLOAD.format(job_id), cut_answer(5000), answer)  # type: ignore[arg-type] # a fault
    with pytest.raises(DigestMismatch):
        client.jobs.download(job_id, NAME, tmp_path / NAME)
    assert files(tmp_path) == []


def test_a_server_that_sends_too_little_again_and_again_is_given_up(
    client: Client, wire: Wire, job_id: str, tmp_path: Path
) -> None:
    wire.harm(DOWNLOAD.format(job_id), *[refuse("200 OK", body="x")] * 30)
    with pytest.raises(ServerUnreachable, match="closed the connection too early"):
        client.jobs.download(job_id, NAME, tmp_path / NAME)


def test_a_busy_or_silent_server_is_asked_again(client: Client, wire: Wire, job_id: str, tmp_path: Path) -> None:
    busy = refuse("503 Service Unavailable", "Retry-After: 0")
    wire.harm(DOWNLOAD.format(job_id), busy, lose_answer, busy, nothing_wrong)
    client.jobs.download(job_id, NAME, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_what_a_job_does_not_have_is_said_with_what_it_has(
    client: Client, served: Settings, job_id: str, tmp_path: Path
) -> None:
    with pytest.raises(NoSuchArtifact, match=f"has no result weights.onnx; it has {NAME}"):
        client.jobs.download(job_id, "weights.onnx", tmp_path / "x")
    failed = client.jobs.create(EXAMPLE)
    fail(served, failed.id)
    with pytest.raises(NoSuchArtifact, match=r"it is failed\. The job needs more memory than there is\."):
        client.jobs.download(failed.id, NAME, tmp_path / "x")
    assert files(tmp_path) == []
