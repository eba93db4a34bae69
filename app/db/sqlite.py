"""Safety rules for SQLite: a rollback journal, serialized writes, and a local disk."""

from pathlib import Path

from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import ConnectionPoolEntry

_MOUNTS = Path("/proc/mounts")
# File locks are unreliable there.
_NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "fuseblk"})
# Rollback journal: WAL can corrupt under several writers before SQLite 3.51.3 (and is not needed here).
_JOURNAL_MODE = "delete"
_PRAGMAS = ("PRAGMA synchronous=FULL", "PRAGMA busy_timeout=10000", "PRAGMA foreign_keys=ON")


class UnsafeDatabase(Exception):
    """The SQLite file cannot be trusted where or as it is."""


def use_safely(engine: Engine) -> None:
    """Set up each connection of an SQLite engine; connecting raises `UnsafeDatabase` if that fails."""
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin_immediate)


def refuse_network(folder: Path) -> None:
    """Raise `UnsafeDatabase` if the folder is on a network file system."""
    found = file_system_of(folder.resolve(), _MOUNTS.read_text())
    if found in _NETWORK_FILE_SYSTEMS or found.startswith("fuse."):
        raise UnsafeDatabase(
            f"{folder} is on {found}, where SQLite's locks do not hold; use a folder on a local disk, or PostgreSQL."
        )


def file_system_of(path: Path, mounts: str) -> str:
    """Return the file system type of an absolute path, given the text of /proc/mounts."""
    types = {}
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        types[Path(point.replace("\\040", " "))] = kind
    return next((types[folder] for folder in (path, *path.parents) if folder in types), "")


def check_integrity(engine: Engine) -> None:
    """Raise `UnsafeDatabase` if the file is damaged."""
    try:
        with engine.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    except DatabaseError as error:
        found = str(error.orig)
    if found != "ok":
        raise UnsafeDatabase(f"The SQLite file is damaged ({found}); restore it from a backup before you continue.")


def _prepare(connection: object, entry: ConnectionPoolEntry) -> None:
    # The driver's own transactions are deferred: upgrading their lock then fails at once.
    connection.isolation_level = None  # type: ignore[attr-defined] # sqlite3's own connection
    cursor = connection.cursor()  # type: ignore[attr-defined] # the same
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    mode = cursor.execute(f"PRAGMA journal_mode={_JOURNAL_MODE}").fetchone()[0]
    cursor.close()
    if mode not in {_JOURNAL_MODE, "memory"}:
        raise UnsafeDatabase(
            f"The SQLite file has the journal mode {mode!r}; stop other programs that have it open, so that the mode "
            "can be changed."
        )


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
