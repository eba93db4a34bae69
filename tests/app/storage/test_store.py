"""Behaviour of every artifact store, in a folder and in a bucket."""

import hashlib
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.settings import Settings
from app.storage import ArtifactDamaged, ArtifactMissing, ArtifactStore, StoredArtifact, open_store
from app.storage.folder import FolderStore
from app.storage.s3.objects import _READ_BYTES
from tests.s3 import bucket_of, keys_of

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
STORED = StoredArtifact(DIGEST, len(CONTENT))
# More than one read or write of a bucket.
LARGE = bytes(range(256)) * (9 * 2**12)
HOUR = timedelta(hours=1)


class Kept:
    """A store with access to its content."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store: ArtifactStore = open_store(settings)

    def overwrite(self, content: bytes) -> None:
        """Replace the bytes of the artifact."""
        if self.settings.artifact_store:
            bucket_of(self.settings).put(f"artifacts/{DIGEST}", content)
        else:
            path = FolderStore(self.settings.artifacts).path(DIGEST)
            path.chmod(0o644)
            path.write_bytes(content)

    def digests(self) -> list[str]:
        """List the stored artifacts."""
        if self.settings.artifact_store:
            return keys_of(self.settings, "artifacts")
        return sorted(path.name for path in self.settings.artifacts.glob("[0-9a-f][0-9a-f]/*"))

    def staged(self) -> list[Path]:
        """List the files of unfinished artifacts."""
        return list((self.settings.artifacts / "incoming").iterdir())

    def put(self, content: bytes = CONTENT) -> StoredArtifact:
        with self.store.writer() as writer:
            writer.write(content)
            return writer.commit()


@pytest.fixture(params=["folder", "bucket"])
def kept(request: pytest.FixtureRequest) -> Kept:
    return Kept(request.getfixturevalue({"folder": "embedded", "bucket": "with_bucket"}[request.param]))


@pytest.fixture
def store(kept: Kept) -> ArtifactStore:
    return kept.store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


def all_of(chunks: Iterator[bytes]) -> bytes:
    return b"".join(chunks)


def test_a_committed_artifact_is_found_under_its_digest(kept: Kept) -> None:
    with kept.store.writer() as writer:
        writer.write(CONTENT[:10])
        writer.write(CONTENT[10:])
        assert kept.digests() == []
        assert writer.commit() == STORED
    assert kept.digests() == [DIGEST]
    assert all_of(kept.store.read(STORED, STORED.whole)) == CONTENT


def test_nothing_remains_of_what_is_not_committed(kept: Kept) -> None:
    with kept.store.writer() as writer:
        writer.write(CONTENT)
    assert (kept.digests(), kept.staged()) == ([], [])


def test_the_same_content_is_stored_once(kept: Kept, source: Path) -> None:
    assert kept.store.put(source) == kept.store.put(source) == kept.put() == STORED
    assert (kept.digests(), kept.staged(), source.read_bytes()) == ([DIGEST], [], CONTENT)


def test_a_file_that_is_adopted_is_stored_and_gone(kept: Kept, source: Path) -> None:
    path = kept.settings.artifacts / "partial"
    source.rename(path)
    kept.store.adopt(path, DIGEST)
    assert (kept.digests(), path.exists()) == ([DIGEST], False)


def test_an_artifact_may_be_empty_or_large(kept: Kept) -> None:
    for content in (b"", LARGE):
        stored = kept.put(content)
        assert stored == StoredArtifact(hashlib.sha256(content).hexdigest(), len(content))
        assert all_of(kept.store.read(stored, stored.whole)) == content
        with kept.store.open(stored.sha256) as file:
            assert file.read() == content


@pytest.mark.parametrize("part", [range(1), range(3, 5), range(6_998, 7_000), range(7_000)])
@pytest.mark.parametrize("known", [False, True])
def test_a_part_can_be_read(kept: Kept, part: range, known: bool) -> None:
    kept.put()
    if known:
        all_of(kept.store.read(STORED, STORED.whole))
    assert all_of(kept.store.read(STORED, part)) == CONTENT[part.start : part.stop]


def test_an_artifact_can_be_looked_into_at_any_place(kept: Kept) -> None:
    kept.put()
    with kept.store.open(DIGEST) as file:
        assert (file.seek(-7, 2), file.read()) == (len(CONTENT) - 7, b"weights")
        assert (file.seek(7), file.read(7), file.tell()) == (7, b"weights", 14)


def test_a_copy_may_be_changed_without_harm_to_the_artifact(kept: Kept, tmp_path: Path) -> None:
    kept.put()
    kept.store.copy(DIGEST, tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint").read_bytes() == CONTENT
    (tmp_path / "checkpoint").write_bytes(b"hostile")
    assert all_of(kept.store.read(STORED, STORED.whole)) == CONTENT


@pytest.mark.parametrize("name", ["", "../../etc/passwd", DIGEST.upper(), DIGEST + "/", DIGEST + "\n"])
def test_only_digests_name_artifacts(store: ArtifactStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        store.renew(name)
    with pytest.raises(ValueError, match="not a SHA-256"):
        store.open(name)


@pytest.mark.parametrize("damage", [CONTENT[:-1] + b"?", CONTENT[:-1], CONTENT + b"?", b""])
@pytest.mark.parametrize("part", [range(len(CONTENT)), range(2)])
def test_a_damaged_artifact_is_not_read(kept: Kept, damage: bytes, part: range) -> None:
    kept.put()
    assert all_of(kept.store.read(STORED, part)) == CONTENT[part.start : part.stop]
    kept.overwrite(damage)
    with pytest.raises(ArtifactDamaged):
        kept.store.read(STORED, part)


def test_the_last_bytes_of_a_large_damaged_artifact_are_never_read(kept: Kept) -> None:
    stored = kept.put(LARGE)
    changed = bytes([LARGE[0] ^ 1]) + LARGE[1:]
    if kept.settings.artifact_store:
        bucket_of(kept.settings).put(f"artifacts/{stored.sha256}", changed)
    else:
        path = FolderStore(kept.settings.artifacts).path(stored.sha256)
        path.chmod(0o644)
        path.write_bytes(changed)
    sent: list[bytes] = []
    with pytest.raises(ArtifactDamaged):
        sent.extend(kept.store.read(stored, stored.whole))
    assert sum(map(len, sent)) <= len(LARGE) - len(LARGE) % _READ_BYTES


def test_a_damaged_artifact_is_not_copied(kept: Kept, tmp_path: Path) -> None:
    kept.put()
    kept.overwrite(CONTENT[:-1] + b"?")
    with pytest.raises(ArtifactDamaged):
        kept.store.copy(DIGEST, tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()


def test_storing_again_heals_a_damaged_artifact(kept: Kept) -> None:
    kept.put()
    kept.overwrite(CONTENT[:-1] + b"?")
    kept.put()
    assert all_of(kept.store.read(STORED, STORED.whole)) == CONTENT


def test_what_has_another_size_is_told_without_reading_it(kept: Kept) -> None:
    kept.put()
    kept.store.require(STORED)
    with pytest.raises(ArtifactDamaged):
        kept.store.require(StoredArtifact(DIGEST, 1))


def test_what_is_not_there_is_missing(store: ArtifactStore, tmp_path: Path) -> None:
    for use in (
        lambda: store.require(StoredArtifact(DIGEST, 1)),
        lambda: store.read(STORED, STORED.whole),
        lambda: store.open(DIGEST),
        lambda: store.copy(DIGEST, tmp_path / "checkpoint"),
        lambda: store.renew(DIGEST),
    ):
        with pytest.raises(ArtifactMissing):
            use()


def test_only_what_was_not_used_for_a_while_is_removed(kept: Kept) -> None:
    kept.put()
    store, earlier, later = kept.store, kept.store.moment(HOUR), kept.store.moment(-HOUR)
    assert list(store.unused_since(earlier)) == []
    assert list(store.unused_since(later)) == [[DIGEST]]
    assert not store.remove_unused(DIGEST, earlier)
    assert kept.digests() == [DIGEST]
    assert store.remove_unused(DIGEST, later)
    assert kept.digests() == []
    assert not store.remove_unused(DIGEST, later)


def test_what_is_renewed_is_used(kept: Kept) -> None:
    kept.put()
    # Times of objects are in whole seconds, and `moment` allows one more.
    time.sleep(2.1)
    since = kept.store.moment(timedelta(0))
    kept.store.renew(DIGEST)
    assert not kept.store.remove_unused(DIGEST, since)
    assert kept.digests() == [DIGEST]


def test_what_is_stored_again_is_used(kept: Kept) -> None:
    kept.put()
    time.sleep(2.1)
    since = kept.store.moment(timedelta(0))
    kept.put()
    assert not kept.store.remove_unused(DIGEST, since)


def test_a_store_that_takes_files_is_well(store: ArtifactStore) -> None:
    store.check()
