"""The clients of `bench.load`, in a separate process.

They speak HTTP/1.1 on plain sockets, so that the clients take little of the machine.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BOUNDARY = b"b0undary"
_CHUNK = bytes(256 * 1024)
# Seconds of polls before the uploads begin, so that connections exist by then.
_WARM_UP = 2
_TERMINAL = {"succeeded", "failed", "canceled"}


@dataclass
class Answer:
    """The status and the body of a response."""

    status: int
    body: bytes


@dataclass
class Measured:
    """Latencies in seconds by kind of request, and errors."""

    latencies: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def add(self, kind: str, seconds: float, answer: Answer, expected: int) -> None:
        """Record one answer."""
        self.latencies.setdefault(kind, []).append(seconds)
        if answer.status != expected:
            self.errors.append(f"{kind}: {answer.status} {answer.body[:200]!r}")

    def summary(self) -> dict[str, Any]:
        """Return counts and percentiles."""
        rows = {kind: _percentiles(found) for kind, found in self.latencies.items()}
        return rows | {"errors": len(self.errors), "first_errors": self.errors[:3]}


class Connection:
    """A persistent connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        self._reader = reader
        self._writer = writer
        self._headers = "Host: localhost\r\n" + (f"Authorization: Bearer {key}\r\n" if key else "")

    async def get(self, path: str) -> Answer:
        """Send a GET request."""
        self._writer.write(f"GET {path} HTTP/1.1\r\n{self._headers}\r\n".encode())
        return await self._answer()

    async def submit(self, start: bytes, filler: int = 0) -> Answer:
        """Submit a checkpoint of the bytes `start` followed by `filler` zero bytes."""
        head = b"--%s\r\n" % _BOUNDARY + b'Content-Disposition: form-data; name="checkpoint"; filename="w"\r\n\r\n'
        tail = b"\r\n--%s--\r\n" % _BOUNDARY
        length = len(head) + len(start) + filler + len(tail)
        self._writer.write(
            b"POST /jobs HTTP/1.1\r\n%sContent-Length: %d\r\nContent-Type: multipart/form-data; boundary=%s\r\n\r\n"
            % (self._headers.encode(), length, _BOUNDARY)
        )
        self._writer.write(head + start)
        while filler:
            self._writer.write(_CHUNK[:filler])
            filler -= min(filler, len(_CHUNK))
            await self._writer.drain()
        self._writer.write(tail)
        return await self._answer()

    async def _answer(self) -> Answer:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].split("\r\n")[0])
        return Answer(int(head.split()[1]), await self._reader.readexactly(length))


@asynccontextmanager
async def connect(port: int, key: str) -> AsyncIterator[Connection]:
    """Open a connection to the API; `key` is empty if the service needs none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer, key)
    finally:
        writer.close()


async def upload_and_poll(port: int, key: str, clients: int, checkpoint: bytes) -> dict[str, Any]:
    """Run `clients` clients at once; each submits a job and polls it every two seconds until it ends."""
    measured = Measured()

    async def client() -> None:
        async with connect(port, key) as connection:
            answer = await _timed(measured, "submit", lambda: connection.submit(checkpoint), 202)
            address, status = f"/jobs/{json.loads(answer.body)['id']}", "queued"
            while status not in _TERMINAL:
                await asyncio.sleep(random.uniform(1.5, 2.5))  # noqa: S311 # clients are not in step
                answer = await _timed(measured, "poll", lambda: connection.get(address), 200)
                status = json.loads(answer.body)["status"]

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - started
    return measured.summary() | {"seconds": round(seconds, 1), "jobs_per_second": round(clients / seconds, 2)}


async def poll_during_uploads(
    port: int, key: str, uploads: int, mebibytes: int, rate: int, pollers: int
) -> dict[str, Any]:
    """Poll the status at a fixed rate until the last of several large uploads has ended.

    A poll's latency counts from its due time: a poll that has to wait for a connection is late, not left out.
    """
    measured, start, filler = Measured(), *_large(mebibytes)
    async with connect(port, key) as connection:
        job = json.loads((await connection.submit(start, filler)).body)["id"]
    due: asyncio.Queue[float | None] = asyncio.Queue()

    async def poller() -> None:
        async with connect(port, key) as connection:
            while (moment := await due.get()) is not None:
                answer = await connection.get(f"/jobs/{job}")
                measured.add("poll", time.perf_counter() - moment, answer, 200)

    async def upload() -> None:
        async with connect(port, key) as connection:
            await _timed(measured, "upload", lambda: connection.submit(start, filler), 202)

    polling = [asyncio.create_task(poller()) for _ in range(pollers)]
    await _ask(due, rate, asyncio.create_task(asyncio.sleep(_WARM_UP)))
    measured.latencies.clear()
    started = time.perf_counter()
    asked = await _ask(due, rate, asyncio.gather(*(upload() for _ in range(uploads))))
    seconds = time.perf_counter() - started
    for _ in polling:
        due.put_nowait(None)
    await asyncio.gather(*polling)
    return measured.summary() | {
        "seconds": round(seconds, 1),
        "polls_per_second": round(asked / seconds),
        "mebibytes_per_second": round(uploads * mebibytes / seconds, 1),
    }


async def _ask(due: "asyncio.Queue[float | None]", rate: int, until: "asyncio.Future[Any]") -> int:
    """Make `rate` polls due every second until `until` is done; return their number."""
    started, asked = time.perf_counter(), 0
    while not until.done():
        while asked < (time.perf_counter() - started) * rate:
            due.put_nowait(started + asked / rate)
            asked += 1
        await asyncio.sleep(1 / rate)
    await until
    return asked


async def _timed(measured: Measured, kind: str, ask: Callable[[], Awaitable[Answer]], expected: int) -> Answer:
    started = time.perf_counter()
    answer = await ask()
    measured.add(kind, time.perf_counter() - started, answer, expected)
    return answer


def _large(mebibytes: int) -> tuple[bytes, int]:
    """Return the header of a safetensors file with one large layer, and the number of zero bytes that follow it."""
    size = mebibytes * 2**20
    layer = {"dtype": "F32", "shape": [size // 64, 1, 4, 4], "data_offsets": [0, size]}
    header = json.dumps({"w": layer}).encode()
    return len(header).to_bytes(8, "little") + header, size


def _percentiles(found: list[float]) -> dict[str, float]:
    ordered = sorted(found)
    at = {name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] for name, share in _SHARES.items()}
    return {"count": len(ordered)} | {f"{name}_ms": round(value * 1000, 1) for name, value in at.items()}


_SHARES = {"p50": 0.5, "p99": 0.99, "max": 1.0}
_PARTS = {"upload_and_poll": upload_and_poll, "poll_during_uploads": poll_during_uploads}


if __name__ == "__main__":
    arguments = json.loads(sys.argv[2])
    if "checkpoint" in arguments:
        arguments["checkpoint"] = Path(arguments["checkpoint"]).read_bytes()
    print(json.dumps(asyncio.run(_PARTS[sys.argv[1]](**arguments))))  # type: ignore[operator]
