import hashlib
from pathlib import Path

import pytest

from app.storage import ArtifactStore

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def leftovers(store: ArtifactStore) -> list[str]:
    return [
        str(path.relative_to(store.folder))
        for path in store.folder.rglob("*")
        if path.is_file() and path.name != "lock"
    ]


def test_a_committed_artifact_is_found_under_its_digest(store: ArtifactStore) -> None:
    with store.writer() as writer:
        writer.write(CONTENT[:10])
        writer.write(CONTENT[10:])
        stored = writer.commit()
    assert (stored.sha256, stored.size) == (DIGEST, len(CONTENT))
    assert store.path(DIGEST).read_bytes() == CONTENT
    assert leftovers(store) == [f"{DIGEST[:2]}/{DIGEST}"]


def test_nothing_remains_of_what_is_not_committed(store: ArtifactStore) -> None:
    with store.writer() as writer:
        writer.write(CONTENT)
    assert leftovers(store) == []


def test_the_same_content_is_stored_once(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    assert store.put(tmp_path / "source") == store.put(tmp_path / "source")
    assert leftovers(store) == [f"{DIGEST[:2]}/{DIGEST}"]


def test_an_artifact_is_read_only(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    store.put(tmp_path / "source")
    assert store.path(DIGEST).stat().st_mode & 0o777 == 0o444


def test_a_copy_may_be_changed_without_harm_to_the_artifact(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    store.put(tmp_path / "source")
    store.copy(DIGEST, tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint").read_bytes() == CONTENT
    (tmp_path / "checkpoint").write_bytes(b"hostile")
    assert store.path(DIGEST).read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["", "../../etc/passwd", DIGEST.upper(), DIGEST + "/", DIGEST + "\n"])
def test_only_digests_name_artifacts(store: ArtifactStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        store.path(name)
