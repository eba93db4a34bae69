"""Messages as files, on a disk that may be full."""

import errno
import os
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from app.jobs.broker import announce, create_celery
from app.settings import Settings


@pytest.fixture
def messages(embedded: Settings) -> Path:
    return embedded.data_dir / "broker" / "messages"


def test_files_that_are_no_messages_are_dropped(embedded: Settings, messages: Path) -> None:
    celery = create_celery(embedded)
    for name, content in (("1_a", b""), ("2_b", b'{"body": ')):
        (messages / f"{name}.cpu.msg").write_bytes(content)
    announce(celery, "job_1", "cpu")
    taken: list[Any] = []
    with celery.connection_for_read() as connection, connection.SimpleQueue("cpu") as queue:
        for _ in range(3):
            try:
                message = queue.get(block=True, timeout=2)
            except (Empty, queue.Empty):
                continue
            taken.append(message.payload[0])
            message.ack()
    assert taken == [["job_1"]]
    assert list(messages.iterdir()) == []


def test_a_note_of_queues_that_a_full_disk_has_left_empty_is_made_anew(embedded: Settings, messages: Path) -> None:
    celery = create_celery(embedded)
    (messages.parent / "control" / "cpu.exchange").touch()
    announce(celery, "job_1", "cpu")
    assert len(list(messages.iterdir())) == 1


def test_a_message_that_finds_no_room_leaves_no_file(
    embedded: Settings, messages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        write_bytes(path, b"")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    celery = create_celery(embedded)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OperationalError):
        announce(celery, "job_1", "cpu")
    assert list(messages.iterdir()) == []
