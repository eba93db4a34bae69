"""What a few bytes of a request may cost: the events and the lines that h11 makes of them are counted."""

import asyncio

import h11
import pytest

from app.http.parser import FREE_CHUNKS, MOST_FIELDS, SMALLEST_MEAN_CHUNK, BoundedConnection
from app.http.server import PromptProtocol

CHUNKED = b"POST /checkpoints HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"


def chunks(size: int, count: int) -> bytes:
    return (b"%x\r\n" % size + b"x" * size + b"\r\n") * count


def parse(*pieces: bytes) -> tuple[list[str], str | None]:
    """The kinds of the events of a connection, and the type of its refusal."""
    connection, events = BoundedConnection(), []
    try:
        for piece in pieces:
            connection.receive_data(piece)
            while isinstance(event := connection.next_event(), h11.Event):
                events.append(type(event).__name__)
    except h11.RemoteProtocolError:
        return events, connection.refusal.details.type
    return events, None


def test_a_body_of_tiny_chunks_is_refused_before_its_next_chunk_is_parsed() -> None:
    events, refusal = parse(CHUNKED + chunks(1, 40_000))
    assert refusal == "chunks-too-small"
    assert events.count("Data") == FREE_CHUNKS


def test_chunk_extensions_do_not_pay_for_chunks() -> None:
    _, refusal = parse(CHUNKED + (b"1;" + b"x" * 2000 + b"\r\nx\r\n") * 300)
    assert refusal == "chunks-too-small"


@pytest.mark.parametrize("size", [SMALLEST_MEAN_CHUNK, 1024, 4096])
def test_a_client_that_writes_larger_chunks_is_read_to_the_end(size: int) -> None:
    events, refusal = parse(CHUNKED, *[chunks(size, 1)] * 2000, chunks(1, 1) + b"0\r\n\r\n")
    assert (events[-1], refusal) == ("EndOfMessage", None)


def test_a_small_document_may_come_word_by_word() -> None:
    events, refusal = parse(CHUNKED + chunks(5, FREE_CHUNKS) + b"0\r\n\r\n")
    assert (events[-1], refusal) == ("EndOfMessage", None)


def test_the_chunks_of_each_request_are_counted_anew() -> None:
    connection = BoundedConnection()
    for _ in range(3):
        connection.receive_data(CHUNKED + chunks(1, FREE_CHUNKS) + b"0\r\n\r\n")
        while not isinstance(connection.next_event(), h11.EndOfMessage):
            pass
        connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        connection.start_next_cycle()


def test_as_many_headers_as_are_allowed_are_read() -> None:
    assert parse(GET + b"a:\r\n" * (MOST_FIELDS - 1) + b"\r\n") == (["Request", "EndOfMessage"], None)


@pytest.mark.parametrize("end", [b"\r\n", b""], ids=["complete", "incomplete"])
@pytest.mark.parametrize("line", [b"a:\r\n", b"a:\n", b" a\r\n"], ids=["fields", "bare", "folded"])
def test_a_head_of_more_headers_is_refused_unparsed(line: bytes, end: bytes) -> None:
    assert parse(GET + line * (MOST_FIELDS + 1) + end) == ([], "headers-too-large")


def test_a_head_of_too_many_bytes_is_refused() -> None:
    assert parse(GET + b"a: " + b"x" * 70_000) == ([], "headers-too-large")


def test_the_lines_of_a_body_are_no_headers() -> None:
    body = b"\n" * 1000
    events, refusal = parse(b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + body)
    assert (events, refusal) == (["Request", "Data", "EndOfMessage"], None)


def test_a_trailer_of_more_fields_is_refused_unparsed() -> None:
    events, refusal = parse(CHUNKED + chunks(1, 1) + b"0\r\n" + b"a:\r\n" * 16_000 + b"\r\n")
    assert (events, refusal) == (["Request", "Data"], "headers-too-large")


def test_a_second_request_behind_the_first_is_bounded_too() -> None:
    connection = BoundedConnection()
    connection.receive_data(GET + b"\r\n" + GET + b"a:\r\n" * 16_000 + b"\r\n")
    while connection.next_event() is not h11.PAUSED:
        pass
    connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
    connection.send(h11.EndOfMessage())
    connection.start_next_cycle()
    with pytest.raises(h11.RemoteProtocolError, match="too many header fields"):
        connection.next_event()


def test_what_is_no_http_is_refused_as_malformed() -> None:
    assert parse(b"\x16\x03\x01 hello\r\n\r\n") == ([], "malformed-request")


def test_one_round_of_the_event_loop_parses_a_bounded_number_of_bytes() -> None:
    assert issubclass(PromptProtocol, asyncio.BufferedProtocol)
    assert len(PromptProtocol._buffer) == 64 * 2**10
