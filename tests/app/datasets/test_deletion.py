"""A deleted data set stays exactly as long as an unfinished job uses it."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from app.db.engine import create_sessions
from app.db.transactions import Sessions
from app.jobs.repository import JobRepository
from app.retention.collector import Collector
from app.settings import Settings
from app.storage.folder import FolderStore
from tests.app.conftest import submit
from tests.app.datasets.test_datasets_api import SHA256, WITH_DATA, upload
from tests.app.retention.test_collector import age
from tests.conftest import transaction

LEASE = timedelta(seconds=30)


@pytest.fixture
def sessions(client: TestClient, settings: Settings) -> Iterator[Sessions]:
    sessions = create_sessions(settings)
    yield sessions
    sessions.kw["bind"].dispose()


def is_kept(settings: Settings, sessions: Sessions) -> bool:
    """Return true if the file survives a collection after the grace time."""
    store = FolderStore(settings.artifacts)
    age(settings.artifacts)
    assert Collector(settings, sessions, store).round()
    return store.path(SHA256).exists()


def test_a_data_set_is_kept_until_it_is_deleted(client: TestClient, settings: Settings, sessions: Sessions) -> None:
    upload(client)
    assert is_kept(settings, sessions)
    client.delete("/datasets/mine")
    assert not is_kept(settings, sessions)


def test_a_deleted_data_set_is_kept_while_a_job_waits_and_runs(
    client: TestClient, settings: Settings, sessions: Sessions
) -> None:
    upload(client)
    job_id = submit(client, WITH_DATA).json()["id"]
    client.delete("/datasets/mine")
    assert is_kept(settings, sessions)
    with transaction(settings) as session:
        claim = JobRepository(session).claim(job_id, LEASE)
    assert claim is not None
    assert claim.dataset_sha256 == SHA256
    assert is_kept(settings, sessions)
    with transaction(settings) as session:
        assert JobRepository(session).release(claim)
    assert is_kept(settings, sessions)


@pytest.mark.parametrize("end", ["succeeds", "fails", "is canceled"])
def test_it_goes_when_the_job_has_ended(client: TestClient, settings: Settings, sessions: Sessions, end: str) -> None:
    upload(client)
    job = submit(client, WITH_DATA).json()
    client.delete("/datasets/mine")
    if end == "is canceled":
        client.post(job["links"]["cancel"])
    else:
        with transaction(settings) as session:
            repository = JobRepository(session)
            claim = repository.claim(job["id"], LEASE)
            assert claim is not None
            assert repository.succeed(claim, {}, {}) if end == "succeeds" else repository.fail(claim, "c", "m.")
    assert not is_kept(settings, sessions)
    # The job needs its checkpoint as long as its results are kept.
    assert FolderStore(settings.artifacts).path(job["checkpoint"]["sha256"]).exists()


def test_a_data_set_that_others_have_too_stays(client: TestClient, settings: Settings, sessions: Sessions) -> None:
    upload(client, "mine")
    upload(client, "also-mine")
    client.delete("/datasets/mine")
    assert is_kept(settings, sessions)
