"""History of a client: one JSON line for each request and answer, on disk before and after every request."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

_UNSURE = 500


class Unanswered(Exception):
    """The client does not know the outcome of its request."""


class Refused(Exception):
    """The request was answered with a client error, or did not arrive at all."""


class History:
    """Appends operations to a file: `invoke`, then `ok`, `fail`, or `unknown` if the outcome is not known."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    @contextmanager
    def operation(self, name: str, **subject: Any) -> Iterator[dict[str, Any]]:
        """Record one request; after success, also the contents of the dictionary, which the block fills.

        Raises `Refused` or `Unanswered` instead of the client library's errors.
        """
        started = time.monotonic()
        self._append(name, "invoke", subject)
        told: dict[str, Any] = {}
        try:
            yield told
        except httpx2.ConnectError as error:
            self._append(name, "fail", subject, reason=repr(error))
            raise Refused from error
        except httpx2.TransportError as error:
            self._append(name, "unknown", subject, reason=repr(error))
            raise Unanswered from error
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            outcome = "unknown" if status >= _UNSURE else "fail"
            self._append(name, outcome, subject, status=status, body=error.response.text[:300])
            raise (Unanswered if outcome == "unknown" else Refused) from error
        self._append(name, "ok", subject | told, seconds=time.monotonic() - started)

    def read(self, name: str, kind: str) -> list[dict[str, Any]]:
        """Return all lines of an operation with this type."""
        lines = [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []
        return [line for line in lines if (line["operation"], line["type"]) == (name, kind)]

    def _append(self, name: str, kind: str, subject: dict[str, Any], **more: Any) -> None:
        line = json.dumps({"time": time.monotonic(), "operation": name, "type": kind, **subject, **more})
        with self._lock, self.path.open("a") as file:
            file.write(line + "\n")
