import asyncio
from http import HTTPStatus

import pytest
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from app.access.service import ApiKeyService
from app.http.middleware.request_log import RequestLog
from app.kit.problems import Problem
from app.main import create_app
from app.settings import Settings
from tests.app.conftest import serving, submit
from tests.app.routes.test_authentication import BOTH, bearer


def lines(client: TestClient, path: str, **named: object) -> list[dict[str, object]]:
    """Return the log lines about one request."""
    with capture_logs() as logs:
        client.get(path, **named)  # type: ignore[arg-type] # as the client takes them
    return [dict(line) for line in logs if line["event"] in {"request", "request_failed"}]


def test_a_request_gets_an_id_that_its_answer_and_its_problem_have(embedded_client: TestClient) -> None:
    first, second = embedded_client.get("/jobs/job_unknown"), embedded_client.get("/jobs/job_unknown")
    ids = [answer.headers["X-Request-ID"] for answer in (first, second)]
    assert [answer.json()["request_id"] for answer in (first, second)] == ids
    assert ids[0] != ids[1]
    assert all(name.startswith("req_") for name in ids)


def test_the_client_may_choose_the_id(embedded_client: TestClient) -> None:
    answer = embedded_client.get("/jobs/job_unknown", headers={"X-Request-ID": "trace-0123456789"})
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "trace-0123456789"


@pytest.mark.parametrize("given", ["short", "x" * 129, "with space", 'quote"quote', "line\\nbreak", "é" * 8])
def test_an_id_that_would_harm_the_log_is_replaced(embedded_client: TestClient, given: str) -> None:
    answer = embedded_client.get("/livez", headers={b"X-Request-ID": given.encode("latin-1")})
    assert answer.headers["X-Request-ID"].startswith("req_")


def test_a_request_is_one_line_with_its_route_and_no_query(embedded_client: TestClient) -> None:
    job_id = submit(embedded_client).json()["id"]
    (line,) = lines(embedded_client, f"/jobs/{job_id}/weights?format=pt")
    assert line.pop("milliseconds")
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "GET",
        "route": "/jobs/{job_id}/weights",
        "status": 409,
        "tenant": "default",
        "key": None,
    }


def test_an_address_that_is_none_is_logged_cut_short(embedded_client: TestClient) -> None:
    (line,) = lines(embedded_client, "/" + "x" * 5000)
    assert (line["status"], line["route"]) == (404, "/" + "x" * 199)


def test_the_line_tells_the_tenant_and_the_key_but_not_its_secret(with_keys: Settings, keys: ApiKeyService) -> None:
    token = keys.create("acme", BOTH)
    with serving(with_keys) as client:
        (line,) = lines(client, "/jobs", headers=bearer(token.reveal()))
    assert (line["tenant"], line["key"]) == ("acme", token.key_id)
    assert token.secret not in repr(line)


def test_an_error_that_nobody_has_foreseen_is_logged_and_hides_its_details(embedded: Settings) -> None:
    app = create_app(embedded)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("the password is 1234")

    client = TestClient(app, "http://127.0.0.1", client=("127.0.0.1", 50000))
    with capture_logs() as logs:
        answer = client.get("/broken")
    assert (answer.status_code, answer.json()["type"]) == (500, "internal-error")
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "1234" not in answer.text
    assert [(line["event"], line.get("error")) for line in logs] == [
        ("request_failed", "RuntimeError('the password is 1234')"),
        ("request", None),
    ]


@pytest.mark.parametrize("error", [ClientDisconnect(), Problem(HTTPStatus.REQUEST_TIMEOUT, "body-too-slow", "Slow.")])
@pytest.mark.parametrize("begun", [False, True])
def test_what_a_client_breaks_off_is_logged_without_a_traceback(error: Exception, begun: bool) -> None:
    sent: list[Message] = []

    async def break_off(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": "/jobs", "headers": []}
    with capture_logs() as logs:
        asyncio.run(RequestLog(break_off)(scope, receive, send))
    assert [line["event"] for line in logs] == (["answer_cut_off", "request"] if begun else ["request"])
    assert all("exc_info" not in line for line in logs)
    assert sent[0]["status"] == (200 if begun else 408 if isinstance(error, Problem) else 400)
