import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from app.outbound.addresses import Address
from app.outbound.client import Origin, OutboundClient
from app.outbound.errors import OutboundError
from app.outbound.interruption import Interruption
from app.outbound.names import look_up

NAME = "hooks.nern.test"
LOOPBACK = [ip_network("127.0.0.0/8")]


class Handler(BaseHTTPRequestHandler):
    """Answers according to the path, and records requests."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.path, self.headers["Host"], body))  # type: ignore[attr-defined]
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
            self.end_headers()
        elif self.path == "/drip":
            self.send_response(200)
            self.end_headers()
            while True:
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return
                time.sleep(0.05)
        else:
            content = b"x" * 2_000_000 if self.path == "/large" else b"thanks"
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + 10 * (self.path == "/short")))
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_POST  # noqa: N815 # the handler's own names

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # the handler's own name
        pass


class Server(ThreadingHTTPServer):
    """A server on loopback, with the certificate of NAME or without TLS."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, bytes]] = []
        self.names: list[str | None] = []
        if context is not None:
            context.sni_callback = lambda _socket, name, _context: self.names.append(name)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that hang up, which these tests expect."""


def started(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for NAME that only the tests trust, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def server(certificate: tuple[Path, Path]) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    yield from started(Server(context))


@pytest.fixture
def plain_server() -> Iterator[Server]:
    yield from started(Server(None))


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# A block that takes longer than a second is handed on.
SECONDS_OF_TEST = 60


class RawServer:
    """Sends the bytes of `answer` to whoever connects, and then waits for the client to hang up."""

    def __init__(self) -> None:
        self.answer = b""
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/"
        self.client = OutboundClient(LOOPBACK)

    def serve(self) -> None:
        with suppress(OSError):
            connection, _ = self.socket.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(self.answer)
                connection.recv(65536)


@pytest.fixture
def raw_server() -> Iterator[RawServer]:
    server = RawServer()
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server.socket.close()
    thread.join(10)


class Names:
    """Resolves every name to the given answers, one after another."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = [[ip_address(address) for address in answer] for answer in answers]
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[Address]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


@pytest.fixture
def client(certificate: tuple[Path, Path]) -> OutboundClient:
    """A client that trusts the server and may connect to loopback."""
    context = ssl.create_default_context(cafile=str(certificate[0]))
    return OutboundClient(LOOPBACK, resolver=Names(["127.0.0.1"]), context=context)


def refusal(client: OutboundClient, url: str) -> str:
    with pytest.raises(OutboundError) as refused, client.send("GET", url):
        pass
    return str(refused.value)


def test_a_request_reaches_an_allowed_server_under_its_own_name(server: Server, client: OutboundClient) -> None:
    url = f"https://{NAME}:{server.server_port}/hook?job=1"
    with client.send("POST", url, headers={"X-Event": "done"}, body=b"{}") as answer:
        assert (answer.status, b"".join(answer.chunks())) == (200, b"thanks")
    assert server.seen == [("/hook?job=1", f"{NAME}:{server.server_port}", b"{}")]
    assert server.names == [NAME]


def test_a_server_with_another_certificate_is_refused(server: Server, client: OutboundClient) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in refusal(client, f"https://other.nern.test:{server.server_port}/")
    assert server.seen == []


def test_a_name_is_resolved_once_so_that_changing_answers_lead_nowhere_else(server: Server) -> None:
    names = Names(["93.184.215.14"], ["127.0.0.1"])
    client = OutboundClient(resolver=names)
    assert client.check(f"https://{NAME}/").addresses == [ip_address("93.184.215.14")]
    assert names.asked == [NAME]
    assert "not on the public internet" in refusal(client, f"https://{NAME}/")
    assert names.asked == [NAME, NAME]
    assert server.seen == []


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    for answer in (["93.184.215.14", "10.0.0.1"], ["10.0.0.1", "93.184.215.14"], ["93.184.215.14", "::1"], []):
        client = OutboundClient(resolver=Names(answer))
        assert "not on the public internet" in refusal(client, f"https://{NAME}/")


def test_one_address_outside_of_the_allowed_networks_is_enough_to_refuse() -> None:
    client = OutboundClient(LOOPBACK, resolver=Names(["127.0.0.1", "10.0.0.1"]))
    assert "not on the public internet" in refusal(client, f"https://{NAME}/")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "LOCALHOST.",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0",
        "①②⑦.⓪.⓪.①",
    ],
)
def test_however_a_private_address_is_written_it_is_refused(host: str) -> None:
    sentence = refusal(OutboundClient(resolver=look_up), f"https://{host}/")
    assert "not on the public internet" in sentence or "cannot be found" in sentence


def test_a_redirect_is_an_answer_and_is_not_followed(server: Server, client: OutboundClient) -> None:
    with client.send("POST", f"https://{NAME}:{server.server_port}/redirect") as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "http://169.254.169.254/latest/meta-data/")
    assert client._names._look_up.asked == [NAME]  # type: ignore[attr-defined]


@pytest.mark.parametrize("url", ["http://{}/", "https://{}:80/", "https://{}:22/", "https://{}:6379/"])
def test_a_public_host_is_reached_over_tls_and_its_ports_only(url: str) -> None:
    client = OutboundClient(resolver=Names(["93.184.215.14"]))
    assert "https:// and use port 443 or 8443" in refusal(client, url.format(NAME))
    for port in ("", ":443", ":8443"):
        assert client.check(f"https://{NAME}{port}/").secure


def test_an_allowed_host_is_reached_without_tls_too(plain_server: Server, client: OutboundClient) -> None:
    with client.send("GET", f"http://{NAME}:{plain_server.server_port}") as answer:
        assert b"".join(answer.chunks()) == b"thanks"
    assert plain_server.seen == [("/", f"{NAME}:{plain_server.server_port}", b"")]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.nern.test",
        "ftp://hooks.nern.test/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user:password@hooks.nern.test/",
        "https://hooks.nern.test:99999/",
        "https://hooks.nern.test:port/",
        "https://[::1/",
        "https://hooks.nern.test/a b",
        "https://hooks.nern.test/\r\nX-Injected: 1",
        "https://" + "a" * 70 + ".test/",
    ],
)
def test_what_is_no_address_of_the_web_is_refused_unresolved(url: str) -> None:
    names = Names(["93.184.215.14"])
    assert refusal(OutboundClient(resolver=names), url).endswith((".", "/path."))
    assert names.asked == []


def test_a_header_cannot_be_smuggled_in(server: Server, client: OutboundClient) -> None:
    url = f"https://{NAME}:{server.server_port}/"
    with pytest.raises(OutboundError), client.send("GET", url, headers={"X": "a\r\nY: b"}):
        pass
    assert server.seen == []


def test_an_answer_that_is_too_large_is_cut_off(server: Server, client: OutboundClient) -> None:
    url = f"https://{NAME}:{server.server_port}/large"
    with client.send("GET", url, max_bytes=2_000_000) as answer:
        assert sum(map(len, answer.chunks())) == 2_000_000
    with client.send("GET", url, max_bytes=1_999_999) as answer, pytest.raises(OutboundError, match="1,999,999 bytes"):
        list(answer.chunks())


def test_a_body_is_handed_on_in_blocks_however_it_comes(raw_server: RawServer) -> None:
    raw_server.answer = CHUNKED + (b"200\r\n" + b"x" * 512 + b"\r\n") * 1000 + b"0\r\n\r\n"
    with raw_server.client.send("GET", raw_server.url, max_bytes=2**20) as answer:
        blocks = [len(block) for block in answer.chunks()]
    assert sum(blocks) == 512_000
    assert len(blocks) <= 8 + 1 + SECONDS_OF_TEST


def test_a_body_in_pieces_of_a_byte_is_refused(raw_server: RawServer) -> None:
    raw_server.answer = CHUNKED + b"1\r\nx\r\n" * 10_000
    with (
        raw_server.client.send("GET", raw_server.url) as answer,
        pytest.raises(OutboundError, match="in pieces of less than 512 bytes"),
    ):
        list(answer.chunks())


def test_the_trailer_of_an_answer_is_not_read(raw_server: RawServer) -> None:
    raw_server.answer = CHUNKED + b"1\r\nx\r\n0\r\n" + b"a:\r\n" * 1000
    with raw_server.client.send("GET", raw_server.url) as answer:
        assert list(answer.chunks()) == [b"x"]


def test_endless_interim_responses_end_the_request(raw_server: RawServer) -> None:
    raw_server.answer = b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000
    expected = "The request has failed: the server's answer is not valid HTTP; try again."
    assert refusal(raw_server.client, raw_server.url) == expected


def test_letters_of_any_script_are_escaped_in_a_path_and_its_query(
    plain_server: Server, client: OutboundClient
) -> None:
    with client.send("GET", f"http://{NAME}:{plain_server.server_port}/größe%20?q=é&r=%C3%A9") as answer:
        assert answer.status == 200
    assert plain_server.seen[0][0] == "/gr%C3%B6%C3%9Fe%20?q=%C3%A9&r=%C3%A9"


def test_an_interruption_ends_a_request_that_waits_for_its_server(client: OutboundClient) -> None:
    interruption = Interruption()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://{NAME}:{silent.getsockname()[1]}/"

        def interrupt() -> None:
            with silent.accept()[0] as connection:
                connection.recv(1)
                interruption.happen()

        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(OutboundError), client.send("GET", url, seconds=60, interruption=interruption):
            pass
        with (
            pytest.raises(OutboundError, match="was interrupted"),
            client.send("GET", url, seconds=60, interruption=interruption),
        ):
            pass


def test_an_answer_that_drips_ends_with_its_deadline(server: Server, client: OutboundClient) -> None:
    start = time.monotonic()
    url = f"https://{NAME}:{server.server_port}/drip"
    with client.send("GET", url, seconds=0.5) as answer, pytest.raises(OutboundError, match="longer than 0.5 seconds"):
        list(answer.chunks())
    assert time.monotonic() - start < 3


def test_a_server_that_says_nothing_ends_with_the_deadline(client: OutboundClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://{NAME}:{silent.getsockname()[1]}/"
        start = time.monotonic()
        with pytest.raises(OutboundError), client.send("GET", url, seconds=0.5):
            pass
        assert time.monotonic() - start < 3


class SlowContext(ssl.SSLContext):
    """Starts TLS only after the server has had time to close the connection."""

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        time.sleep(0.1)
        return super().wrap_socket(*arguments, **options)


def test_a_server_that_resets_the_connection_before_tls_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def reset_at_once() -> None:
            connection, _ = listening.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        thread = threading.Thread(target=reset_at_once)
        thread.start()
        client = OutboundClient(LOOPBACK, context=SlowContext(ssl.PROTOCOL_TLS_CLIENT))
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(OutboundError, match="does not answer"), client.send("GET", url):
            pass
        thread.join()


def test_an_answer_that_breaks_off_is_no_answer(plain_server: Server, client: OutboundClient) -> None:
    url = f"http://{NAME}:{plain_server.server_port}/short"
    with client.send("GET", url) as answer, pytest.raises(OutboundError, match="is incomplete"):
        list(answer.chunks())


def test_a_host_that_does_not_answer_is_named(client: OutboundClient) -> None:
    assert refusal(client, f"https://{NAME}:1/") == f"The host {NAME} does not answer; try again."


def test_what_the_caller_does_wrong_stays_its_own(plain_server: Server, client: OutboundClient) -> None:
    with pytest.raises(FileNotFoundError), client.send("GET", f"http://{NAME}:{plain_server.server_port}/"):
        Path("/no/such/file").read_bytes()


def test_the_proxies_of_the_environment_are_not_asked(
    plain_server: Server, client: OutboundClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with client.send("GET", f"http://{NAME}:{plain_server.server_port}/") as answer:
        assert answer.status == 200


def test_an_origin_that_the_operator_has_named_is_reached_wherever_it_is(plain_server: Server) -> None:
    url = f"http://127.0.0.1:{plain_server.server_port}"
    client = OutboundClient(origins=[Origin.of(f"{url}/anything")])
    with client.send("GET", f"{url}/models") as answer:
        assert answer.status == 200
    assert "is not on the public internet" in refusal(client, f"http://127.0.0.1:{plain_server.server_port + 1}/")
    assert "is not on the public internet" in refusal(client, f"https://127.0.0.1:{plain_server.server_port}/")
    assert "is not on the public internet" in refusal(client, f"http://127.0.0.2:{plain_server.server_port}/")
