from collections.abc import Iterator
from datetime import timedelta

import pytest

from app.accounting.discards import DiscardRepository, Discards
from app.db.engine import create_sessions
from app.db.schema import migrate
from app.db.transactions import Sessions
from app.jobs.accounts import ACCOUNTS
from app.settings import Settings
from app.storage import open_store
from app.uploads.repository import UploadRepository
from tests.conftest import transaction
from tests.s3 import FaultyBucket, keys_of

DAY = timedelta(days=1)


@pytest.fixture
def sessions(with_bucket: Settings) -> Iterator[Sessions]:
    migrate(with_bucket)
    sessions = create_sessions(with_bucket)
    yield sessions
    sessions.kw["bind"].dispose()


def upload(settings: Settings, content: bytes) -> str:
    with open_store(settings).writer() as writer:
        writer.write(content)
        sha256 = writer.commit().sha256
    with transaction(settings) as session:
        UploadRepository(session).add("default", sha256, len(content), DAY)
    return sha256


def delete(settings: Settings, sha256: str) -> None:
    with transaction(settings) as session:
        deleted = UploadRepository(session).delete("default", sha256)
        assert deleted is not None
        DiscardRepository(session, ACCOUNTS).add("default", {deleted.sha256: deleted.size})


def test_a_discarded_file_goes_and_one_that_a_row_names_stays(with_bucket: Settings, sessions: Sessions) -> None:
    discarded, kept = upload(with_bucket, b"discarded"), upload(with_bucket, b"kept")
    delete(with_bucket, discarded)
    Discards(sessions, open_store(with_bucket), ACCOUNTS).remove([discarded, kept])
    assert keys_of(with_bucket, "artifacts") == [kept]


def test_what_cannot_be_removed_now_is_removed_later(
    with_bucket: Settings, sessions: Sessions, faulty: FaultyBucket
) -> None:
    sha256 = upload(with_bucket, b"discarded")
    delete(with_bucket, sha256)
    faulty.proxy.go_down()
    Discards(sessions, open_store(faulty.settings), ACCOUNTS).remove([sha256])
    assert keys_of(with_bucket, "artifacts") == [sha256]
    Discards(sessions, open_store(with_bucket), ACCOUNTS).remove_all()
    assert keys_of(with_bucket, "artifacts") == []
