"""Collectors beside processes that store and renew: in every interleaving, one of them notices the other."""

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings import Settings
from app.storage import ArtifactMissing, StoreUnavailable
from app.storage.s3 import uses
from app.storage.s3.bucket import Bucket, ObjectFound
from app.storage.s3.location import Location
from tests.s3 import bucket_of, keys_of, store_of

CONTENT = b"weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
ARTIFACT = f"artifacts/{DIGEST}"


class BucketWithMoment(Bucket):
    """Runs another action just before one request."""

    def __init__(self, settings: Settings, request: str, key: str, happens: Callable[[], None]) -> None:
        super().__init__(Location.of(settings))
        self._moment = (request, key)
        self._happens = happens

    def find(self, key: str) -> ObjectFound | None:
        self._look("find", key)
        return super().find(key)

    def delete(self, key: str) -> None:
        self._look("delete", key)
        super().delete(key)

    def _look(self, request: str, key: str) -> None:
        if (request, key) == self._moment:
            self._moment = ("", "")
            self._happens()


class Meanwhile:
    """An action of another process, and its outcome."""

    def __init__(self, work: Callable[[], object], begun: Callable[[], bool]) -> None:
        self.error: Exception | None = None
        self._work = work
        self._begun = begun
        self._thread = threading.Thread(target=self._run)

    def begin(self) -> None:
        """Start the action, and let it run as far as it can."""
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._begun():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def end(self) -> Exception | None:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.error

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 # the test checks it
            self.error = error


@pytest.fixture
def old(with_bucket: Settings) -> float:
    """Store an artifact that nobody renews; return a time just after it."""
    store_of(with_bucket).adopt(source_in(with_bucket.data_dir), DIGEST)
    found = bucket_of(with_bucket).find(ARTIFACT)
    assert found is not None
    # Times are in whole seconds.
    time.sleep(1.1)
    return found.modified.timestamp() + 1


def source_in(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "source"
    path.write_bytes(CONTENT)
    return path


def renewed(settings: Settings, since: float) -> Callable[[], bool]:
    """Return a function that is true once a renewal was written."""

    def look() -> bool:
        found = bucket_of(settings).find(f"renewed/{DIGEST}")
        return found is not None and found.modified.timestamp() >= since

    return look


def test_whoever_renews_before_the_collector_looks_keeps_the_artifact(with_bucket: Settings, old: float) -> None:
    renewing = Meanwhile(lambda: store_of(with_bucket).renew(DIGEST), renewed(with_bucket, old))
    bucket = BucketWithMoment(with_bucket, "find", ARTIFACT, renewing.begin)
    assert not store_of(with_bucket, bucket).remove_unused(DIGEST, old)
    assert renewing.end() is None
    assert keys_of(with_bucket, "artifacts") == [DIGEST]


def test_whoever_renews_after_the_collector_has_looked_is_told_that_it_is_gone(
    with_bucket: Settings, old: float
) -> None:
    renewing = Meanwhile(lambda: store_of(with_bucket).renew(DIGEST), renewed(with_bucket, old))
    bucket = BucketWithMoment(with_bucket, "delete", ARTIFACT, renewing.begin)
    assert store_of(with_bucket, bucket).remove_unused(DIGEST, old)
    assert isinstance(renewing.end(), ArtifactMissing)


def test_what_is_stored_while_its_old_copy_is_removed_is_stored_again(
    with_bucket: Settings, old: float, tmp_path: Path
) -> None:
    storing = Meanwhile(lambda: store_of(with_bucket).put(source_in(tmp_path / "new")), renewed(with_bucket, old))
    bucket = BucketWithMoment(with_bucket, "delete", ARTIFACT, storing.begin)
    store_of(with_bucket, bucket).remove_unused(DIGEST, old)
    assert storing.end() is None
    assert keys_of(with_bucket, "artifacts") == [DIGEST]
    assert keys_of(with_bucket, "condemned") == []


def test_nothing_remains_in_the_bucket_of_what_was_removed(with_bucket: Settings, old: float) -> None:
    assert store_of(with_bucket).remove_unused(DIGEST, old)
    assert [keys_of(with_bucket, folder) for folder in ("artifacts", "renewed", "condemned")] == [[], [], []]


def test_a_collector_that_hesitates_for_too_long_removes_nothing(
    with_bucket: Settings, old: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uses, "_SECONDS_TO_REMOVE", 0.2)
    bucket = BucketWithMoment(with_bucket, "find", ARTIFACT, lambda: time.sleep(0.3))
    assert not store_of(with_bucket, bucket).remove_unused(DIGEST, old)
    assert keys_of(with_bucket, "artifacts") == [DIGEST]


def test_the_announcement_of_a_dead_collector_holds_nobody_up_for_long(
    with_bucket: Settings, old: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uses, "_SECONDS_TO_WAIT", 0.3)
    bucket_of(with_bucket).put(f"condemned/{DIGEST}/0123", b"")
    store = store_of(with_bucket)
    with pytest.raises(StoreUnavailable, match="is being removed"):
        store.renew(DIGEST)
    time.sleep(1.1)
    monkeypatch.setattr(uses, "_DEAD_AFTER", uses._DEAD_AFTER * 0)
    store.renew(DIGEST)


def test_the_announcements_of_dead_collectors_are_removed(with_bucket: Settings) -> None:
    bucket_of(with_bucket).put(f"condemned/{DIGEST}/0123", b"")
    found = uses.Uses(bucket_of(with_bucket))
    assert found.remove_announcements(time.time() - 60) == 0
    assert found.remove_announcements(time.time() + 60) == 1
    assert keys_of(with_bucket, "condemned") == []
