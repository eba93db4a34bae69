import asyncio
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request
from starlette.middleware import Middleware
from starlette.testclient import TestClient
from starlette.types import Message

from app.http.middleware.body_limits import LARGEST_DOCUMENT, BodyLimits, accept_upload
from app.http.problem_answers import use_problem_details
from app.pages.page_route import problem_answer


def create_app(idle: float = 5, bytes_per_second: int = 1) -> FastAPI:
    """Create routes that count bytes of bodies: one takes documents, one uploads, and one ignores its body."""
    app = FastAPI(middleware=[Middleware(BodyLimits, idle=idle, bytes_per_second=bytes_per_second)])
    use_problem_details(app, problem_answer)

    @app.post("/document")
    async def document(request: Request) -> int:
        return len(await request.body())

    @app.post("/upload", dependencies=[Depends(accept_upload)])
    async def upload(request: Request) -> int:
        return len(await request.body())

    @app.post("/blind")
    async def blind() -> str:
        return "done"

    return app


async def drip(app: FastAPI, path: str, size: int, pause: float, parts: int) -> tuple[int, dict[str, str]]:
    """Send a body in `parts` of `size` bytes with a pause before each; returns the status and headers."""
    sent: list[Message] = []
    left = parts

    async def receive() -> Message:
        nonlocal left
        await asyncio.sleep(pause)
        left -= 1
        return {"type": "http.request", "body": b"x" * size, "more_body": left > 0}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"transfer-encoding", b"chunked")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.mark.parametrize("size", [0, LARGEST_DOCUMENT])
def test_a_document_of_the_largest_size_is_read(size: int) -> None:
    answer = TestClient(create_app()).post("/document", content=b"x" * size)
    assert (answer.status_code, answer.json()) == (200, size)
    assert "Connection" not in answer.headers


def test_a_document_that_is_declared_larger_is_refused_unread() -> None:
    answer = TestClient(create_app()).post("/document", content=b"x" * (LARGEST_DOCUMENT + 1))
    assert (answer.status_code, answer.json()["type"]) == (413, "body-too-large")
    assert "the limit of 65,536 bytes" in answer.json()["detail"]
    assert answer.headers["Connection"] == "close"


def test_a_document_that_turns_out_larger_is_refused() -> None:
    status, headers = asyncio.run(drip(create_app(), "/document", LARGEST_DOCUMENT // 4, pause=0, parts=6))
    assert (status, headers["connection"]) == (413, "close")


def test_an_upload_is_as_large_as_its_route_takes() -> None:
    assert TestClient(create_app()).post("/upload", content=b"x" * 3_000_000).json() == 3_000_000


def test_a_body_that_nobody_reads_ends_the_connection() -> None:
    answer = TestClient(create_app()).post("/blind", content=b"x" * 10)
    assert (answer.json(), answer.headers["Connection"]) == ("done", "close")


def test_a_body_that_pauses_is_cut_off() -> None:
    status, headers = asyncio.run(drip(create_app(idle=0.1), "/upload", 1000, pause=0.5, parts=3))
    assert (status, headers["connection"]) == (408, "close")


def test_a_body_that_drips_is_cut_off() -> None:
    app = create_app(idle=0.2, bytes_per_second=1000)
    status, headers = asyncio.run(drip(app, "/upload", 1, pause=0.02, parts=1000))
    assert (status, headers["connection"]) == (408, "close")


def test_a_body_that_comes_slowly_but_fast_enough_is_read() -> None:
    app = create_app(idle=0.2, bytes_per_second=1000)
    status, headers = asyncio.run(drip(app, "/upload", 1000, pause=0.02, parts=25))
    assert (status, "connection" in headers) == (200, False)


def test_the_time_that_the_service_itself_takes_does_not_count() -> None:
    app = create_app(idle=0.1, bytes_per_second=100_000)

    @app.post("/slow-disk", dependencies=[Depends(accept_upload)])
    async def slow_disk(request: Request) -> int:
        read = 0
        async for chunk in request.stream():
            await asyncio.sleep(0.05)
            read += len(chunk)
        return read

    assert asyncio.run(drip(app, "/slow-disk", 1000, pause=0, parts=10))[0] == 200


def test_a_document_has_to_come_soon_and_an_upload_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.http.middleware.body_limits._SECONDS_FOR_DOCUMENT", 0.2)
    app = create_app()
    late, _ = asyncio.run(drip(app, "/document", size=10, pause=0.05, parts=10))
    upload, _ = asyncio.run(drip(app, "/upload", size=10, pause=0.05, parts=10))
    assert (late, upload) == (408, 200)
