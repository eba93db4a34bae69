"""A bucket that is missing, unreachable, or changes while it is used."""

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings import Settings
from app.storage import StoredArtifact, StoreUnavailable
from app.storage.s3.store import S3Store
from tests.chaos.proxy import Direction
from tests.s3 import FaultyBucket, S3Server, bucket_of, bucket_settings, keys_of, store_of

CONTENT = bytes(range(256)) * (9 * 2**12)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
STORED = StoredArtifact(DIGEST, len(CONTENT))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


def uses_of(store: S3Store, source: Path) -> list[Callable[[], object]]:
    """Return all operations of a store."""
    return [
        lambda: store.put(source),
        lambda: store.writer().__enter__(),
        lambda: store.open(DIGEST),
        lambda: store.require(STORED),
        lambda: list(store.read(STORED, STORED.whole)),
        lambda: store.copy(DIGEST, source.with_name("copy")),
        lambda: store.renew(DIGEST),
        lambda: list(store.unused_since(time.time())),
        lambda: store.remove_unused(DIGEST, time.time()),
        store.check,
    ]


def test_a_store_that_cannot_be_reached_says_nothing_of_its_artifacts(faulty: FaultyBucket, source: Path) -> None:
    store = store_of(faulty.settings)
    store.put(source)
    faulty.proxy.go_down()
    for use in uses_of(store, source):
        with pytest.raises(StoreUnavailable):
            use()
    faulty.proxy.heal()
    assert b"".join(store.read(STORED, STORED.whole)) == CONTENT
    assert list((faulty.settings.artifacts / "incoming").iterdir()) == []


def test_nor_does_a_bucket_that_does_not_exist(with_bucket: Settings, source: Path) -> None:
    store = store_of(with_bucket.model_copy(update={"artifact_store": "s3://no-such-bucket/x"}))
    for use in uses_of(store, source):
        with pytest.raises(StoreUnavailable):
            use()


def test_a_short_outage_is_not_noticed(faulty: FaultyBucket, source: Path) -> None:
    store = store_of(faulty.settings)
    faulty.proxy.go_down()
    healing = threading.Timer(0.7, faulty.proxy.heal)
    healing.start()
    assert store.put(source) == STORED
    healing.join()


def test_a_server_that_never_answers_is_given_up(faulty: FaultyBucket) -> None:
    store = store_of(faulty.settings)
    store.check()
    faulty.proxy.swallow(Direction.BOTH)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        store.require(STORED)
    assert time.monotonic() - began < 10


def test_a_server_that_is_stopped_and_started_again_is_used_again(
    impatient: None, source: Path, tmp_path: Path
) -> None:
    server = S3Server(tmp_path / "log")
    server.start()
    try:
        bucket = server.make_bucket()
        settings = Settings(data_dir=tmp_path / "data", **bucket_settings(server.url, bucket))
        store = store_of(settings)
        store.put(source)
        server.stop()
        with pytest.raises(StoreUnavailable):
            store.check()
        server.start()
        server.make_bucket(bucket)
        assert store.put(source) == STORED
        assert b"".join(store.read(STORED, STORED.whole)) == CONTENT
    finally:
        server.stop()


def test_a_download_whose_object_is_replaced_does_not_mix_two(with_bucket: Settings, source: Path) -> None:
    store = store_of(with_bucket)
    store.put(source)
    chunks = store.read(STORED, STORED.whole)
    next(chunks)
    bucket_of(with_bucket).put(f"artifacts/{DIGEST}", b"another one")
    with pytest.raises(StoreUnavailable):
        list(chunks)


def test_a_file_that_changes_while_it_is_stored_leaves_nothing(with_bucket: Settings, source: Path) -> None:
    store = store_of(with_bucket)
    for content in (CONTENT[:-1] + b"?", CONTENT[:1000]):
        source.write_bytes(content)
        with pytest.raises(OSError, match="has changed while it was stored"):
            store.adopt(source, DIGEST)
    assert keys_of(with_bucket, "artifacts") == []
    assert source.exists()


def test_many_may_store_the_same_at_once(with_bucket: Settings, source: Path) -> None:
    found: list[StoredArtifact] = []
    threads = [threading.Thread(target=lambda: found.append(store_of(with_bucket).put(source))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [STORED] * 4
    assert keys_of(with_bucket, "artifacts") == [DIGEST]
    assert b"".join(store_of(with_bucket).read(STORED, STORED.whole)) == CONTENT
