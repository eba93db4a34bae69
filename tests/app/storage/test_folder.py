import hashlib
import json
import resource
import shutil
import subprocess
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import pytest

from app.kit.durable_files import DiskFull
from app.settings import Settings
from app.storage import StoreUnavailable
from app.storage.folder import FolderStore
from tests.app.conftest import serving

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


def leftovers(store: FolderStore) -> list[str]:
    return [
        str(path.relative_to(store.folder))
        for path in store.folder.rglob("*")
        if path.is_file() and path.name != "lock"
    ]


def test_a_committed_artifact_is_found_under_its_digest(store: FolderStore) -> None:
    with store.writer() as writer:
        writer.write(CONTENT[:10])
        writer.write(CONTENT[10:])
        stored = writer.commit()
    assert (stored.sha256, stored.size) == (DIGEST, len(CONTENT))
    assert store.path(DIGEST).read_bytes() == CONTENT
    assert leftovers(store) == [f"{DIGEST[:2]}/{DIGEST}"]


def test_the_folder_of_incoming_files_is_made_again_if_somebody_removes_it(store: FolderStore) -> None:
    shutil.rmtree(store.incoming)
    with store.writer() as writer:
        writer.write(CONTENT)
        writer.commit()
    assert store.path(DIGEST).read_bytes() == CONTENT


def test_a_store_whose_disk_is_not_mounted_is_unavailable(store: FolderStore) -> None:
    shutil.rmtree(store.folder)
    with pytest.raises(StoreUnavailable, match="there is no folder"), store.writer():
        pytest.fail("there is a writer")
    assert not store.folder.exists()


def test_an_artifact_is_read_only(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    store.put(tmp_path / "source")
    assert store.path(DIGEST).stat().st_mode & 0o777 == 0o444


def test_an_artifact_is_read_to_be_verified_once_until_it_changes(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    stored = store.put(tmp_path / "source")
    read: list[object] = []
    digest_of = hashlib.file_digest

    def note_and_digest(file: BufferedReader, name: str) -> "hashlib._Hash":
        read.append(file)
        return digest_of(file, name)

    monkeypatch.setattr(hashlib, "file_digest", note_and_digest)
    for _ in range(3):
        store.verified(stored)
    assert len(read) == 1
    store.renew(DIGEST)
    store.verified(stored)
    assert len(read) == 2


def test_what_does_not_leave_the_reserve_free_is_refused_before_it_is_written(store: FolderStore) -> None:
    free = shutil.disk_usage(store.folder).free
    with pytest.raises(DiskFull), store.writer(expected=free, reserve=1):
        pass
    with pytest.raises(DiskFull), store.writer(reserve=2 * free) as writer:
        writer.write(CONTENT)
    assert leftovers(store) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_nothing_remains_of_what_a_full_disk_refuses(small_disk: Path) -> None:
    store = FolderStore(small_disk)
    with pytest.raises(DiskFull), store.writer() as writer:
        writer.write(bytes(5 * 2**20))
    assert leftovers(store) == []
    with store.writer() as writer:
        writer.write(CONTENT)
        assert writer.commit().sha256 == DIGEST


def test_uploads_to_a_full_disk_are_refused_until_there_is_room(embedded: Settings, small_disk: Path) -> None:
    """The reserve is 1 MiB of 4. A body with a length is refused at once, one without a length while it arrives."""
    settings = embedded.model_copy(update={"artifact_dir": small_disk, "disk_reserve": 2**20})
    (small_disk / "ballast").write_bytes(bytes(2 * 2**20))
    large = large_checkpoint(2 * 2**20)
    with serving(settings) as client:
        refused = [
            client.post("/checkpoints", content=large),
            client.post("/checkpoints", content=iter([large[:1000], large[1000:]])),
            client.post("/jobs", files={"checkpoint": large}),
        ]
        assert [(answer.status_code, answer.json()["type"]) for answer in refused] == [(507, "disk-full")] * 3
        assert {answer.headers["Retry-After"] for answer in refused} == {"600"}
        assert leftovers(FolderStore(small_disk)) == ["ballast"]
        (small_disk / "ballast").unlink()
        assert client.post("/checkpoints", content=large).status_code == 201
    assert shutil.disk_usage(small_disk).free >= settings.disk_reserve


def test_a_disk_that_fills_up_without_a_reserve_refuses_too(embedded: Settings, small_disk: Path) -> None:
    settings = embedded.model_copy(update={"artifact_dir": small_disk, "disk_reserve": 0})
    with serving(settings) as client:
        large = large_checkpoint(5 * 2**20)
        answer = client.post("/checkpoints", content=iter([large[:1000], large[1000:]]))
    assert (answer.status_code, answer.json()["type"]) == (507, "disk-full")
    assert leftovers(FolderStore(small_disk)) == []


def test_a_file_larger_than_a_process_may_write_is_refused_as_one_without_room(embedded: Settings) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serving(embedded) as client:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 2**20, hard))
        try:
            answer = client.post("/checkpoints", content=large_checkpoint(5 * 2**20))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (answer.status_code, answer.json()["type"]) == (507, "disk-full")
    assert leftovers(FolderStore(embedded.artifacts)) == []


def large_checkpoint(size: int) -> bytes:
    shape = [size // 64, 1, 4, 4]
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)
