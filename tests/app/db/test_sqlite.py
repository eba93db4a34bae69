import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import sessionmaker
from starlette.testclient import TestClient

from app.db import sqlite
from app.db.engine import create_engine
from app.db.schema import migrate
from app.db.sqlite import UnsafeDatabase, check_integrity, file_system_of, refuse_network
from app.db.transactions import transact
from app.main import create_app
from app.settings import Settings

MOUNTS = r"""/dev/vda / ext4 rw,relatime 0 0
server:/export /mnt/nfs nfs4 rw 0 0
//server/share /mnt/a\040share cifs rw 0 0
tmpfs /mnt/nfs/local tmpfs rw 0 0
me@host:/ /home/me/remote fuse.sshfs rw 0 0
"""


@pytest.fixture
def engine(embedded: Settings) -> Iterator[Engine]:
    migrate(embedded)
    engine = create_engine(embedded)
    yield engine
    engine.dispose()


def database_file(settings: Settings) -> Path:
    return settings.data_dir / "nern.db"


def test_commits_go_to_a_rollback_journal_and_to_the_disk(engine: Engine) -> None:
    with engine.connect() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert found == ["delete", 2]


def test_a_file_with_a_write_ahead_log_is_brought_back_to_a_rollback_journal(embedded: Settings) -> None:
    migrate(embedded)
    with closing(sqlite3.connect(database_file(embedded))) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    engine = create_engine(embedded)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
    engine.dispose()


def test_a_whole_file_is_found_whole(engine: Engine) -> None:
    check_integrity(engine)


def test_work_waits_for_another_writer(engine: Engine, embedded: Settings) -> None:
    event.listen(engine, "connect", lambda connection, entry: connection.execute("PRAGMA busy_timeout=10"))
    with closing(sqlite3.connect(database_file(embedded), isolation_level=None, check_same_thread=False)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.3, writer.execute, ["COMMIT"])
        timer.start()
        assert transact(sessionmaker(engine), lambda session: session.scalar(text("SELECT 1"))) == 1
        timer.join()


# The second page is the root of a table; its first byte is its type.
@pytest.mark.parametrize("place", [0, 4096], ids=["header", "table"])
def test_the_service_does_not_start_on_a_damaged_file(embedded: Settings, place: int) -> None:
    migrate(embedded)
    file = database_file(embedded)
    content = bytearray(file.read_bytes())
    content[place] = 0xFF
    file.write_bytes(content)
    with pytest.raises(UnsafeDatabase, match="restore it from a backup"), TestClient(create_app(embedded)):
        pass


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/nern", "ext4"),
        ("/mnt/nfs", "nfs4"),
        ("/mnt/nfs/data/nern", "nfs4"),
        ("/mnt/nfs/local/nern", "tmpfs"),
        ("/mnt/nfsother", "ext4"),
        ("/mnt/a share/nern", "cifs"),
        ("/home/me/remote/nern", "fuse.sshfs"),
    ],
)
def test_a_path_is_on_the_file_system_that_is_mounted_nearest_above_it(path: str, kind: str) -> None:
    assert file_system_of(Path(path), MOUNTS) == kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs", "9p"])
def test_a_database_on_a_network_is_refused(
    embedded: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/export {tmp_path} {kind} rw 0 0\n")
    monkeypatch.setattr(sqlite, "_MOUNTS", mounts)
    with pytest.raises(UnsafeDatabase, match=f"is on {kind}.*use a folder on a local disk, or PostgreSQL"):
        create_engine(embedded)


def test_a_local_disk_is_accepted(tmp_path: Path) -> None:
    refuse_network(tmp_path)
