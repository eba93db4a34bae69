import json
import subprocess
import sys
from typing import Any

import pytest

from app.logs import escape_control_characters
from tests.conftest import ROOT

PROGRAM = """
import logging, structlog
from app.logs import configure_logging
configure_logging()
{statements}
"""


def logged(statements: str) -> list[dict[str, Any]]:
    """Return the log of a process whose standard error is not a terminal."""
    program = PROGRAM.format(statements=statements)
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert ended.stdout == ""
    return [json.loads(line) for line in ended.stderr.splitlines()]


def test_a_record_is_one_json_object_on_a_line() -> None:
    (record,) = logged("structlog.get_logger().info('job_started', job='job_1', attempt=2)")
    assert record.pop("timestamp").endswith("Z")
    assert record == {"event": "job_started", "level": "info", "job": "job_1", "attempt": 2}


def test_what_libraries_log_takes_the_same_way() -> None:
    records = logged(
        "logging.getLogger('uvicorn.error').warning('Invalid %s', 'request')\n"
        "logging.getLogger('celery.worker').error('lost')\n"
        "logging.getLogger('uvicorn.access').info('GET /jobs?token=secret')\n"
        "logging.getLogger('httpx2').info('GET /jobs?token=secret')"
    )
    assert [(record["level"], record["event"]) for record in records] == [
        ("warning", "Invalid request"),
        ("error", "lost"),
    ]


def test_what_is_bound_to_the_context_is_in_every_record() -> None:
    records = logged(
        "structlog.contextvars.bind_contextvars(request_id='req_1')\n"
        "structlog.get_logger().info('a')\nlogging.getLogger('other').info('b')"
    )
    assert [(record["event"], record["request_id"]) for record in records] == [("a", "req_1"), ("b", "req_1")]


def test_a_name_cannot_forge_a_record() -> None:
    name = 'x"}\n{"event": "forged"}\r\u2028\x85\x1b[2J'
    (record,) = logged(f"structlog.get_logger().info('upload', name={name!r})")
    assert record["name"] == name


def test_an_exception_is_part_of_its_record() -> None:
    (record,) = logged("try:\n    1 / 0\nexcept ZeroDivisionError:\n    structlog.get_logger().exception('failed')")
    assert record["event"] == "failed"
    assert record["exception"].endswith("ZeroDivisionError: division by zero")


def test_what_nobody_has_caught_is_one_record_too() -> None:
    records = logged(
        "import threading, warnings\n"
        "thread = threading.Thread(target=lambda: 1 / 0, name='courier')\n"
        "thread.start()\nthread.join()\n"
        "warnings.warn('old')\n"
        "class Broken:\n    def __del__(self): raise OSError('late')\n"
        "broken = Broken()\ndel broken\n"
    )
    assert [record["level"] for record in records] == ["critical", "warning", "error"]
    assert records[0]["thread"] == "courier"
    assert records[0]["exception"].endswith("ZeroDivisionError: division by zero")
    assert "UserWarning: old" in records[1]["event"]
    assert records[2]["exception"].endswith("OSError: late")


def test_an_exception_that_ends_the_process_is_one_record() -> None:
    program = PROGRAM.format(statements="raise OSError('no room')")
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, capture_output=True, text=True)
    (record,) = map(json.loads, ended.stderr.splitlines())
    assert (ended.returncode, record["event"], record["level"]) == (1, "uncaught_exception", "critical")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ünïcode: 漢字", "plain text, ünïcode: 漢字"),
        ("line\nbreak\r", "line\\nbreak\\r"),
        ("\x1b[31mred\x1b[0m\x07", "\\x1b[31mred\\x1b[0m\\x07"),
        ("next\x85line\u2028and\u2029", "next\\x85line\\u2028and\\u2029"),
        ("right\u202eleft", "right\\u202eleft"),
    ],
)
def test_a_terminal_gets_no_control_characters(text: str, shown: str) -> None:
    assert escape_control_characters(None, "info", {"event": text, "size": 1}) == {"event": shown, "size": 1}
