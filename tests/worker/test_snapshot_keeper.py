"""The pace and the bounds at which a keeper copies the snapshots of a hostile runner."""

from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from app.jobs.repository import JobRepository
from app.jobs.snapshots.store import SnapshotFolder
from app.jobs.transitions import Claim
from app.storage import StoredArtifact
from tests.worker.conftest import Jobs
from tests.worker.supervision import Clock, nothing, on
from worker.folder import RunFolder
from worker.snapshot_keeper import SnapshotKeeper

MOST_BYTES, PAUSE = 100, 10.0


class Copies(SnapshotFolder):
    """A store that lists the copies. Those of names in `broken` fail at their end."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.made: list[str] = []
        self.broken: set[str] = set()

    def keep(self, job_id: str, name: str, source: BinaryIO) -> StoredArtifact:
        stored = super().keep(job_id, name, source)
        self.made.append(name)
        if name in self.broken:
            raise OSError("the file has changed while it was stored")
        return stored


class Attempt:
    """A running job, its folder, and the keeper of its snapshots."""

    def __init__(self, jobs: Jobs, clock: Clock, job_id: str | None = None) -> None:
        self._jobs = jobs
        self._id = job_id or jobs.submit()
        with jobs.sessions.begin() as session:
            claim = JobRepository(session).claim(self._id, timedelta(minutes=1))
        assert claim is not None
        self.folder = RunFolder.of_attempt(jobs.settings.scratch, self._id, claim.attempt)
        self.folder.make()
        self.copies = Copies(jobs.settings.snapshots)
        self.keeper = SnapshotKeeper(self.copies, jobs.sessions, claim, self.folder, MOST_BYTES, PAUSE, on(clock))

    @property
    def files(self) -> set[str]:
        """Names of the snapshots in the store."""
        return {path.name.partition(".")[0] for path in (self._jobs.settings.snapshots / self._id).iterdir()}

    def next(self, clock: Clock) -> "Attempt":
        """Lose the lease, and let another supervisor go on with the job."""
        self._jobs.take_away(self._id)
        following = Attempt(self._jobs, clock, self._id)
        following.keeper.restore()
        return following

    def write(self, name: str, size: int) -> None:
        (self.folder.snapshots / name).write_bytes(bytes(size))

    @property
    def kept(self) -> dict[str, int]:
        """Bytes of the snapshots in the job's row."""
        found = self._jobs.get(self._id).snapshots or {}
        return {name: described["bytes"] for name, described in found.items()}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def attempt(embedded_jobs: Jobs, clock: Clock) -> Attempt:
    return Attempt(embedded_jobs, clock)


def test_a_snapshot_waits_for_a_pause_after_its_last_copy(attempt: Attempt, clock: Clock) -> None:
    for size in (10, 20, 30):
        attempt.write("stage-0", size)
        attempt.keeper.keep({"stage-0"}, nothing)
    assert attempt.kept == {"stage-0": 10}
    clock.now += PAUSE
    attempt.keeper.keep((), nothing)
    assert attempt.kept == {"stage-0": 30}
    assert attempt.copies.made == ["stage-0"] * 2


def test_a_replaced_snapshot_is_removed(attempt: Attempt, embedded_jobs: Jobs) -> None:
    for size in (10, 20):
        attempt.write("stage-0", size)
        attempt.keeper.keep({"stage-0"}, nothing, last=True)
    assert [path.stat().st_size for path in embedded_jobs.settings.snapshots.glob("*/*")] == [20]


def test_the_snapshots_of_a_later_attempt_are_not_removed(
    attempt: Attempt, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_snapshots = JobRepository.keep_snapshots

    def lose_the_lease_right_after(session: Session) -> None:
        following = attempt.next(clock)
        following.write("stage-1", 20)
        following.keeper.keep({"stage-1"}, nothing)

    def look(self: JobRepository, claim: Claim, snapshots: Any) -> bool:
        monkeypatch.undo()
        event.listen(self._session, "after_commit", lose_the_lease_right_after)
        return keep_snapshots(self, claim, snapshots)

    monkeypatch.setattr(JobRepository, "keep_snapshots", look)
    attempt.write("stage-0", 10)
    attempt.keeper.keep({"stage-0"}, nothing)
    assert attempt.kept == {"stage-0": 10, "stage-1": 20}
    assert attempt.files == {"stage-0", "stage-1"}


def test_the_last_snapshot_does_not_wait(attempt: Attempt) -> None:
    for size in (10, 20):
        attempt.write("stage-0", size)
        attempt.keeper.keep({"stage-0"}, nothing)
    attempt.keeper.keep((), nothing, last=True)
    assert attempt.kept == {"stage-0": 20}


def test_copies_that_fail_count_with_the_bytes_of_a_pause(attempt: Attempt, clock: Clock) -> None:
    names = {f"stage-{number}" for number in range(5)}
    attempt.copies.broken = names
    for name in names:
        attempt.write(name, 40)
    attempt.keeper.keep(names, nothing)
    attempt.keeper.keep((), nothing)
    assert attempt.copies.made == ["stage-0", "stage-1"]
    clock.now += PAUSE
    attempt.keeper.keep((), nothing)
    assert attempt.copies.made == ["stage-0", "stage-1", "stage-2", "stage-3"]


def test_a_snapshot_that_grows_during_its_copy_is_cut(attempt: Attempt) -> None:
    def grow() -> None:
        with (attempt.folder.snapshots / "stage-0").open("ab") as file:
            file.write(bytes(1000))

    attempt.write("stage-0", 10)
    attempt.keeper.keep({"stage-0"}, grow)
    assert attempt.kept == {"stage-0": 10}


def test_a_link_among_snapshots_does_not_cost_the_others_their_place(attempt: Attempt) -> None:
    attempt.write("stage-0", 10)
    (attempt.folder.snapshots / "stage-1").symlink_to("stage-0")
    attempt.keeper.keep({"stage-0", "stage-1"}, nothing)
    assert attempt.kept == {"stage-0": 10}


def test_a_name_that_is_not_kept_is_logged_once(attempt: Attempt) -> None:
    attempt.write("stage-0", MOST_BYTES + 1)
    with capture_logs() as logged:
        for _ in range(3):
            attempt.keeper.keep({"stage-0"}, nothing)
    assert [(entry["event"], entry["bytes"]) for entry in logged] == [("snapshot_too_large", MOST_BYTES + 1)]


def test_a_copy_that_is_ended_leaves_no_file(attempt: Attempt, embedded_jobs: Jobs) -> None:
    class Ended(Exception):
        pass

    def end() -> None:
        raise Ended

    attempt.write("stage-0", 10)
    with pytest.raises(Ended):
        attempt.keeper.keep({"stage-0"}, end)
    assert attempt.kept == {}
    assert [path for path in embedded_jobs.settings.snapshots.rglob("*") if path.is_file()] == []
