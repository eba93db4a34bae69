import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx2
import pytest

from app.settings import Settings
from nern_client import AsyncClient, Client, NernClientError, Retries, ServerUnreachable, UnexpectedAnswer
from nern_client.proxies import proxy_for
from tests.nern_cli.test_main import nern
from tests.nern_client.conftest import listening

# Nothing listens there.
DEAD = "http://me:secret@127.0.0.1:9"
ONCE = Retries(attempts=1, first_attempts=1)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the proxies of a test."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("NERN_API_KEY", raising=False)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY", "http_proxy"])
@pytest.mark.parametrize("proxy", [DEAD, "socks5://127.0.0.1:9", "no proxy at all"])
def test_this_machine_is_asked_without_a_proxy(
    embedded: Settings, monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str
) -> None:
    monkeypatch.setenv(variable, proxy)
    with listening(embedded) as port, Client(f"http://127.0.0.1:{port}", retries=ONCE) as client:
        assert list(client.jobs.list()) == []


@pytest.mark.anyio
async def test_the_other_client_asks_this_machine_without_a_proxy(
    embedded: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with listening(embedded) as port:
        async with AsyncClient(f"http://localhost:{port}", retries=ONCE) as client:
            assert [job async for job in client.jobs.list()] == []


def test_a_proxy_that_does_not_answer_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", DEAD)
    with (
        Client("http://nern.example", retries=ONCE) as client,
        pytest.raises(ServerUnreachable) as unreachable,
    ):
        list(client.jobs.list())
    assert str(unreachable.value).startswith(
        "http://nern.example does not answer through the proxy http://127.0.0.1:9 of HTTP_PROXY: "
    )


class Refusing(BaseHTTPRequestHandler):
    """A proxy that refuses every request."""

    def do_GET(self) -> None:
        self.send_error(403)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # as in the standard library
        pass


def test_an_answer_of_a_proxy_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), Refusing) as proxy, Client("http://nern.example", retries=ONCE) as client:
        threading.Thread(target=proxy.handle_request).start()
        address = f"http://127.0.0.1:{proxy.server_port}"
        monkeypatch.setenv("HTTP_PROXY", address)
        with pytest.raises(UnexpectedAnswer) as refused:
            list(client.jobs.list())
    assert f"The server, or the proxy {address} of HTTP_PROXY before it, answered 403" in str(refused.value)


def test_the_command_names_the_proxy_and_not_a_service_to_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", DEAD)
    assert nern(monkeypatch, "jobs", "list", "--url", "https://nern.example") == 6
    error = capsys.readouterr().err
    assert "through the proxy http://127.0.0.1:9 of HTTPS_PROXY" in error
    assert error.endswith("Add the host to NO_PROXY to bypass the proxy.\n")
    assert "secret" not in error
    assert "nern serve" not in error


@pytest.mark.parametrize(
    ("proxy", "sentence"),
    [
        ("socks5://127.0.0.1:9", "nern.example cannot be reached through the proxy socks5://127.0.0.1:9 of ALL_PROXY"),
        ("gopher://127.0.0.1:9", "nern.example cannot be reached through the proxy gopher://127.0.0.1:9 of ALL_PROXY"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, proxy: str, sentence: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with Client("https://nern.example", retries=ONCE) as client, pytest.raises(NernClientError) as refused:
        list(client.jobs.list())
    assert str(refused.value).startswith(sentence)
    assert not isinstance(refused.value, ServerUnreachable)


@pytest.mark.parametrize(
    ("no_proxy", "address", "direct"),
    [
        ("*", "http://nern.example", True),
        ("nern.example", "http://nern.example:8000", True),
        ("example", "http://nern.example", True),
        (".example", "http://nern.example", True),
        ("*.example", "http://nern.example", True),
        ("other, NERN.example", "http://nern.example", True),
        ("ern.example", "http://nern.example", False),
        ("nern.example:8000", "http://nern.example:8000", True),
        ("nern.example:8001", "http://nern.example:8000", False),
        ("nern.example:443", "https://nern.example", True),
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("10.1.2.3", "http://10.1.2.3", True),
        ("[fd00::1]:8000", "http://[fd00::1]:8000", True),
        ("fd00::/8", "http://[fd00::1]", True),
        ("", "http://127.0.0.7", True),
        ("", "http://[::1]:8000", True),
        ("", "http://service.localhost", True),
        ("", "http://nern.example", False),
    ],
)
def test_no_proxy_names_who_is_asked_directly(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, address: str, direct: bool
) -> None:
    monkeypatch.setenv("ALL_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (proxy_for(httpx2.URL(address)) is None) is direct


def test_a_proxy_without_a_scheme_speaks_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "proxy.example:3128")
    assert str(proxy_for(httpx2.URL("http://nern.example"))) == "the proxy http://proxy.example:3128 of http_proxy"
