"""Our http-parser reads what Mesos sends as pymesos expects it, however the bytes are cut."""

from __future__ import annotations

import pytest
from http_parser.http import HttpParser

EVENT = b'{"type":"HEARTBEAT"}'
RECORD = b"%d\n%s" % (len(EVENT), EVENT)
HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
    b"Content-Type: application/json\r\n"
    b"Mesos-Stream-Id: 130ae4e3-6b13-4ef4-baa9-9f2e85c3e9af\r\n"
    b"Transfer-Encoding: chunked\r\n"
    b"\r\n"
)
CHUNK = b"%x\r\n%s\r\n" % (len(RECORD), RECORD)
STREAM = HEAD + CHUNK + CHUNK
LAST_CHUNK = b"0\r\n\r\n"


def fed(*pieces: bytes) -> HttpParser:
    """A parser that was given these pieces and took all of them."""
    parser = HttpParser()
    for piece in pieces:
        assert parser.execute(piece, len(piece)) == len(piece)
    return parser


def test_a_stream_of_events_in_one_feed() -> None:
    parser = fed(STREAM)
    assert parser.is_headers_complete()
    assert parser.get_status_code() == 200
    assert parser.is_chunked()
    assert parser.is_partial_body()
    assert parser.recv_body() == RECORD * 2
    assert not parser.is_partial_body()
    assert parser.recv_body() == b""
    assert not parser.is_message_complete()
    assert parser.get_errno() == 0


def test_the_end_of_the_stream_is_seen() -> None:
    assert fed(STREAM, LAST_CHUNK).is_message_complete()


@pytest.mark.parametrize("cut", range(1, len(STREAM)))
def test_a_cut_at_any_byte_changes_nothing(cut: int) -> None:
    parser = HttpParser()
    body = b""
    for piece in (STREAM[:cut], STREAM[cut:]):
        assert parser.execute(piece, len(piece)) == len(piece)
        body += parser.recv_body()
    assert body == RECORD * 2
    assert parser.get_headers() == fed(STREAM).get_headers()


def test_byte_by_byte() -> None:
    parser = fed(*(STREAM[at : at + 1] for at in range(len(STREAM))), LAST_CHUNK)
    assert parser.recv_body() == RECORD * 2
    assert parser.is_message_complete()


def test_nothing_is_known_before_the_empty_line() -> None:
    parser = fed(HEAD[:-2])
    assert not parser.is_headers_complete()
    assert not parser.is_message_complete()
    assert not parser.is_partial_body()


def test_a_header_value_that_arrives_in_two_feeds_is_whole() -> None:
    cut = HEAD.index(b"4ef4")
    headers = fed(HEAD[:cut], HEAD[cut:]).get_headers()
    assert headers["Mesos-Stream-Id"] == "130ae4e3-6b13-4ef4-baa9-9f2e85c3e9af"


def test_header_names_are_looked_up_without_regard_to_case() -> None:
    headers = fed(HEAD).get_headers()
    assert headers["MESOS-STREAM-ID"] == headers["mesos-stream-id"]
    assert headers.get("Location") is None
    # pymesos makes its own look-up table of the items.
    assert {name.upper() for name, _ in headers.items()} >= {"MESOS-STREAM-ID", "CONTENT-TYPE"}


def test_a_repeated_header_is_joined() -> None:
    parser = fed(b"HTTP/1.1 200 OK\r\nX-One: a\r\nx-one: b\r\nContent-Length: 0\r\n\r\n")
    assert parser.get_headers()["X-One"] == "a, b"


def test_a_body_with_a_length_is_complete_without_chunks() -> None:
    parser = fed(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 12\r\n\r\nnot a ", b"schema")
    assert parser.get_status_code() == 400
    assert not parser.is_chunked()
    assert parser.recv_body() == b"not a schema"
    assert parser.is_message_complete()


@pytest.mark.parametrize("status", [202, 307, 401, 503])
def test_an_empty_answer_is_complete(status: int) -> None:
    head = b"HTTP/1.1 %d X\r\nLocation: //10.0.0.1:5050\r\nContent-Length: 0\r\n\r\n" % status
    parser = fed(head)
    assert (parser.get_status_code(), parser.is_message_complete()) == (status, True)
    assert parser.get_headers()["location"] == "//10.0.0.1:5050"


def test_a_1xx_response_is_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\nX-Interim: yes\r\n\r\n"
    parser = fed(interim)
    assert not parser.is_headers_complete()
    assert not parser.is_message_complete()
    parser = fed(interim + STREAM)
    assert parser.get_status_code() == 200
    assert "X-Interim" not in parser.get_headers()
    assert parser.recv_body() == RECORD * 2


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        HEAD + b"zz\r\n",
    ],
)
def test_garbage_is_an_error_with_a_number_and_stays_one(garbage: bytes) -> None:
    parser = HttpParser()
    assert parser.execute(garbage, len(garbage)) != len(garbage)
    assert parser.get_errno() != 0
    assert parser.execute(STREAM, len(STREAM)) == 0


def test_only_the_given_length_is_read() -> None:
    parser = HttpParser()
    assert parser.execute(HEAD + b"more", len(HEAD)) == len(HEAD)
    assert parser.get_errno() == 0
    assert not parser.is_partial_body()


def test_it_has_no_errno_attribute() -> None:
    """pymesos takes `errno` for http-parser's pure Python parser, which we do not have."""
    assert not hasattr(HttpParser(), "errno")
