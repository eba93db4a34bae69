"""Behaviour of every snapshot store, in a folder and in a bucket."""

import hashlib
import io
from pathlib import Path

import pytest

from app.jobs.snapshots.store import SnapshotStore, open_snapshots
from app.settings import Settings
from app.storage import StoredArtifact
from tests.s3 import bucket_of

JOB, OTHER = f"job_{'1' * 32}", f"job_{'2' * 32}"
STATE = b"state" * 1000
STORED = StoredArtifact(hashlib.sha256(STATE).hexdigest(), len(STATE))


@pytest.fixture(params=["embedded", "with_bucket"])
def settings(request: pytest.FixtureRequest) -> Settings:
    found: Settings = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def snapshots(settings: Settings) -> SnapshotStore:
    return open_snapshots(settings)


def test_a_snapshot_is_kept_and_fetched(snapshots: SnapshotStore, tmp_path: Path) -> None:
    assert snapshots.keep(JOB, "fit-0", io.BytesIO(STATE)) == STORED
    assert snapshots.fetch(JOB, "fit-0", STORED, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == STATE


def test_what_is_not_there_or_is_something_else_is_not_fetched(
    snapshots: SnapshotStore, settings: Settings, tmp_path: Path
) -> None:
    snapshots.keep(JOB, "fit-0", io.BytesIO(STATE))
    for job, name, stored in (
        (OTHER, "fit-0", STORED),
        (JOB, "fit-1", STORED),
        (JOB, "fit-0", StoredArtifact("0" * 64, STORED.size)),
    ):
        assert not snapshots.fetch(job, name, stored, tmp_path / "fetched")
    damaged, key = STATE[:-1] + b"?", f"snapshots/{JOB}/fit-0.{STORED.sha256}"
    if settings.artifact_store:
        bucket_of(settings).put(key, damaged)
    else:
        (settings.artifacts / key).write_bytes(damaged)
    assert not snapshots.fetch(JOB, "fit-0", STORED, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_those_that_are_removed_go_and_all_others_stay(snapshots: SnapshotStore, tmp_path: Path) -> None:
    for name, state in (("fit-0", b"old"), ("fit-0", STATE), ("fit-1", b"older")):
        snapshots.keep(JOB, name, io.BytesIO(state))
    old, gone = (StoredArtifact(hashlib.sha256(state).hexdigest(), len(state)) for state in (b"old", b"older"))
    for _ in range(2):
        snapshots.remove(JOB, [("fit-0", old), ("fit-1", gone)])
    assert snapshots.fetch(JOB, "fit-0", STORED, tmp_path / "fetched")
    assert not snapshots.fetch(JOB, "fit-0", old, tmp_path / "old")
    assert not snapshots.fetch(JOB, "fit-1", gone, tmp_path / "gone")


def test_a_job_is_forgotten_with_all_its_snapshots(snapshots: SnapshotStore) -> None:
    for job in (JOB, OTHER):
        snapshots.keep(job, "fit-0", io.BytesIO(STATE))
        snapshots.keep(job, "fit-1", io.BytesIO(STATE))
    assert snapshots.jobs() == [JOB, OTHER]
    snapshots.forget(JOB)
    assert snapshots.jobs() == [OTHER]


@pytest.mark.parametrize(("job", "name"), [("job_../x", "fit-0"), ("", "fit-0"), (JOB, "../x"), (JOB, "fit-0/x")])
def test_no_other_names_are_taken(snapshots: SnapshotStore, job: str, name: str) -> None:
    with pytest.raises(ValueError, match="not the"):
        snapshots.keep(job, name, io.BytesIO(STATE))
