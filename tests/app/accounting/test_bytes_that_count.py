"""The quota counts every byte of a tenant on the disk, and no removed ones."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from app.access.service import ApiKeyService
from app.accounting.discards import lock_files
from app.accounting.models import Reservation
from app.accounting.quotas import BYTES_OF_A_JOB
from app.accounting.reservations import Reservations, ReservedRoom
from app.db.engine import create_sessions
from app.db.transactions import Sessions
from app.jobs.accounts import ACCOUNTS
from app.kit.problems import Problem
from app.retention.collector import Collector
from app.settings import Settings
from app.storage.folder import FolderStore
from tests.app.conftest import serving, stored_files, submit
from tests.app.routes.test_authentication import BOTH, bearer
from tests.app.test_jobs_api import finish
from tests.conftest import EXAMPLE, transaction
from tests.dataset_files import safetensors_file, small_file

pytestmark = pytest.mark.both_modes

CONTENT = EXAMPLE.read_bytes()
SIZE = len(CONTENT)


@pytest.fixture
def sessions(with_keys: Settings) -> Iterator[Sessions]:
    sessions = create_sessions(with_keys)
    yield sessions
    sessions.kw["bind"].dispose()


@pytest.fixture
def client(with_keys: Settings, keys: ApiKeyService) -> Iterator[TestClient]:
    """A client of the tenant `acme`."""
    with serving(with_keys) as client:
        client.headers.update(bearer(keys.create("acme", BOTH).reveal()))
        yield client


def used(settings: Settings, tenant: str = "acme") -> int:
    with transaction(settings) as session:
        return ACCOUNTS.usage(session, tenant).stored_bytes


def without_a_length(content: bytes) -> Iterator[bytes]:
    yield from (content[start : start + 50_000] for start in range(0, len(content), 50_000))


def checkpoint_of(values: int) -> bytes:
    return safetensors_file({"weight": ("F32", (values,))})


@pytest.mark.parametrize("body", [bytes, without_a_length])
@pytest.mark.parametrize("route", ["/checkpoints", "/datasets?name=mine"])
def test_of_uploads_beyond_the_quota_nothing_is_on_the_disk(
    with_keys: Settings, keys: ApiKeyService, body: Callable[[bytes], bytes], route: str
) -> None:
    with serving(with_keys.model_copy(update={"max_stored_bytes": SIZE})) as client:
        client.headers.update(bearer(keys.create("acme", BOTH).reveal()))
        answers = [client.post(route, content=body(checkpoint_of(SIZE))) for _ in range(3)]
    assert [(answer.status_code, answer.json()["type"]) for answer in answers] == [(429, "storage-full")] * 3
    assert stored_files(with_keys) == []
    assert used(with_keys) == 0


def test_a_refused_form_leaves_nothing(with_keys: Settings, keys: ApiKeyService) -> None:
    with serving(with_keys.model_copy(update={"max_stored_bytes": SIZE})) as client:
        client.headers.update(bearer(keys.create("acme", BOTH).reveal()))
        # There is room for the file, but not for its results.
        assert submit(client).json()["type"] == "storage-full"
    assert (stored_files(with_keys), used(with_keys)) == ([], 0)


def test_a_file_of_a_request_that_is_refused_at_its_end_is_removed(client: TestClient, with_keys: Settings) -> None:
    key = {"Idempotency-Key": '"k"'}
    first = submit(client, headers=key)
    other = CONTENT[:-1] + b"\1"
    assert submit(client, checkpoint=other, headers=key).json()["type"] == "idempotency-key-reused"
    assert submit(client, headers=key).json()["id"] == first.json()["id"]
    assert [path.name for path in stored_files(with_keys)] == [hashlib.sha256(CONTENT).hexdigest()]


def test_a_deleted_checkpoint_is_removed_at_once_and_counts_no_more(client: TestClient, with_keys: Settings) -> None:
    address = client.post("/checkpoints", content=CONTENT).headers["Location"]
    assert used(with_keys) == SIZE
    client.delete(address)
    assert (stored_files(with_keys), used(with_keys)) == ([], 0)


def test_a_deleted_file_stays_while_somebody_else_has_it(
    client: TestClient, with_keys: Settings, keys: ApiKeyService
) -> None:
    address = client.post("/checkpoints", content=CONTENT).headers["Location"]
    rival = bearer(keys.create("rival", BOTH).reveal())
    client.post("/checkpoints", content=CONTENT, headers=rival)
    client.delete(address)
    assert (used(with_keys), used(with_keys, "rival"), len(stored_files(with_keys))) == (0, SIZE, 1)
    client.delete(address, headers=rival)
    assert (used(with_keys, "rival"), stored_files(with_keys)) == (0, [])


def test_the_files_of_a_deleted_job_are_removed_at_once(
    client: TestClient, with_keys: Settings, tmp_path: Path
) -> None:
    job_id = submit(client).json()["id"]
    finish(with_keys, job_id, tmp_path)
    client.delete(f"/jobs/{job_id}")
    assert (stored_files(with_keys), used(with_keys)) == ([], 0)


def test_a_deleted_data_set_counts_until_the_last_job_has_ended_that_uses_it(
    client: TestClient, with_keys: Settings, sessions: Sessions
) -> None:
    content = small_file()
    client.post("/datasets?name=mine", content=content)
    options = {"dataset": "mine", "architecture": "digits-cnn"}
    job = submit(client, options).json()
    before = used(with_keys)
    client.delete("/datasets/mine")
    assert used(with_keys) == before
    client.post(job["links"]["cancel"])
    assert Collector(with_keys, sessions, FolderStore(with_keys.artifacts)).round()
    assert used(with_keys) == SIZE + BYTES_OF_A_JOB
    assert [path.name for path in stored_files(with_keys)] == [hashlib.sha256(CONTENT).hexdigest()]


def room(settings: Settings, sessions: Sessions, quota: int) -> ReservedRoom:
    limited = settings.model_copy(update={"max_stored_bytes": quota})
    return Reservations(limited, sessions, FolderStore(settings.artifacts), ACCOUNTS).room("acme")


def test_a_file_that_is_being_removed_keeps_nobody_waiting_for_another(sessions: Sessions) -> None:
    if sessions.kw["bind"].dialect.name != "postgresql":
        pytest.skip("SQLite has one writer")
    removed, other = f"{1:064x}", f"{2:064x}"
    with sessions.begin() as removing, sessions.begin() as using:
        lock_files(removing, [removed])
        using.execute(text("SET LOCAL lock_timeout = '100ms'"))
        lock_files(using, [other], shared=True)
        with pytest.raises(OperationalError, match="lock timeout"):
            lock_files(using, [other, removed], shared=True)
        using.rollback()


def test_what_arrives_counts_at_every_process(with_keys: Settings, keys: ApiKeyService, sessions: Sessions) -> None:
    here, there = (room(with_keys, sessions, 100) for _ in range(2))
    here.reserve(80, 80)
    with pytest.raises(Problem, match="take 80 bytes"):
        there.reserve(21, 21)
    here.close()
    there.reserve(100, 100)
    assert used(with_keys) == 100


def test_a_reservation_grows_with_a_file_of_unknown_size(
    with_keys: Settings, keys: ApiKeyService, sessions: Sessions
) -> None:
    growing = room(with_keys, sessions, 40 * 2**20)
    growing.cover(1)
    assert used(with_keys) == 16 * 2**20
    growing.cover(16 * 2**20 + 1)
    growing.cover(40 * 2**20)
    assert used(with_keys) == 40 * 2**20
    with pytest.raises(Problem, match="exceed the limit of 41,943,040"):
        growing.cover(40 * 2**20 + 1)


def test_a_reservation_whose_process_has_died_expires(
    with_keys: Settings, keys: ApiKeyService, sessions: Sessions
) -> None:
    room(with_keys, sessions, 100).reserve(80, 80)
    with transaction(with_keys) as session:
        session.execute(update(Reservation).values(expires_at=datetime(2000, 1, 1, tzinfo=UTC)))
    assert used(with_keys) == 0
    assert Collector(with_keys, sessions, FolderStore(with_keys.artifacts)).round()
    with transaction(with_keys) as session:
        assert session.query(Reservation).count() == 0
