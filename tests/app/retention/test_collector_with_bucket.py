import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.db.engine import create_sessions
from app.db.schema import migrate
from app.db.transactions import Sessions
from app.jobs.repository import JobRepository
from app.jobs.snapshots.store import open_snapshots
from app.retention.collector import Collector
from app.settings import Settings
from app.storage import ArtifactStore, open_store
from app.uploads.repository import UploadRepository
from tests.app.retention.test_collector import job_of
from tests.conftest import transaction
from tests.s3 import keys_of

DAY = timedelta(days=1)


@pytest.fixture
def settings(with_bucket: Settings) -> Settings:
    """Settings with a grace time in the future, because objects cannot be made older."""
    return with_bucket.model_copy(update={"collect_grace": timedelta(minutes=-1)})


@pytest.fixture
def sessions(settings: Settings) -> Iterator[Sessions]:
    migrate(settings)
    sessions = create_sessions(settings)
    yield sessions
    sessions.kw["bind"].dispose()


@pytest.fixture
def store(settings: Settings) -> ArtifactStore:
    return open_store(settings)


def put(store: ArtifactStore, content: bytes) -> str:
    with store.writer() as writer:
        writer.write(content)
        return writer.commit().sha256


def test_what_nobody_needs_goes_and_what_a_job_or_an_upload_needs_stays(
    settings: Settings, sessions: Sessions, store: ArtifactStore
) -> None:
    checkpoint, upload, _ = (put(store, content) for content in (b"checkpoint", b"upload", b"left behind"))
    with transaction(settings) as session:
        UploadRepository(session).add("default", upload, 6, DAY)
        JobRepository(session).add(job_of(f"job_{'0' * 32}", checkpoint))
    assert Collector(settings, sessions, store).round()
    assert keys_of(settings, "artifacts") == sorted([checkpoint, upload])


def test_what_is_young_stays(with_bucket: Settings, sessions: Sessions, store: ArtifactStore) -> None:
    young = put(store, b"young")
    assert Collector(with_bucket, sessions, store).round()
    assert keys_of(with_bucket, "artifacts") == [young]


def test_snapshots_go_with_their_job(settings: Settings, sessions: Sessions, store: ArtifactStore) -> None:
    snapshots = open_snapshots(settings)
    live, gone = f"job_{'0' * 32}", f"job_{'1' * 32}"
    for job in (live, gone):
        snapshots.keep(job, "fit-0", io.BytesIO(b"state"))
    with transaction(settings) as session:
        JobRepository(session).add(job_of(live, put(store, b"checkpoint")))
    assert Collector(settings, sessions, store).round()
    assert snapshots.jobs() == [live]


def test_what_an_api_has_left_on_its_own_disk_goes_too(
    settings: Settings, sessions: Sessions, store: ArtifactStore
) -> None:
    left: list[Path] = [settings.artifacts / "incoming" / "x", settings.artifacts / "partial" / f"upload_{'0' * 32}"]
    collector = Collector(settings, sessions, store)
    for path in left:
        path.touch()
    assert collector.round()
    assert [path.exists() for path in left] == [False, False]
