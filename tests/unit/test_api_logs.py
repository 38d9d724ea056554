"""Logs arrive byte for byte, in pieces or as a stream, and a stream ends when the build does."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.auth import HTTPBasicAuth

from api import create_app, logtext, sse
from builder_framework.client.sse import ServerEvent, parse_events
from builder_framework.domain import events as ev
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.protocol import PushedImage, Report
from builder_framework.redact import Secret
from builder_framework.users import SingleUser
from tests.unit.builds_double import AUTH, BODY, PASSWORD, USER, MemoryBuilds

pytest_plugins = ("tests.unit.conftest_api",)

BUILDS = "/api/v1/builds"
LOG = "Schritt 1 … größer\r\n\x1b[31mrot\x1b[0m\r100 % 😀\u2028ende\n"
DIGEST = "sha256:" + "1" * 64


def client_of(builds: MemoryBuilds) -> Any:
    people = People(SingleUser(USER, Secret(PASSWORD)))
    return create_app(builds, people, RequestPolicy(), keepalive=0.02).test_client()


def running(builds: MemoryBuilds) -> str:
    answer = client_of(builds).post(BUILDS, json=BODY, auth=AUTH)
    build_id = str(answer.json["id"])
    builds.place(build_id)
    return build_id


def finish(builds: MemoryBuilds, build_id: str) -> None:
    report = Report(
        commit="c" * 40, digest=DIGEST, images=(PushedImage("registry.example.org/app:1", DIGEST),)
    )
    builds.apply(build_id, ev.TaskSucceeded(1, report), ev.LogCompleted())


def events_of(raw: bytes, cut: int = 1000) -> list[ServerEvent]:
    return list(parse_events(raw[at : at + cut] for at in range(0, len(raw), cut)))


def text_of(events: list[ServerEvent]) -> str:
    return "".join(json.loads(one.data)["text"] for one in events if one.name == "log")


texts = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("é€😀\r\n\0\x1b"), max_size=60
)
no_fixture_reset = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)


@no_fixture_reset
@given(
    text=texts,
    limits=st.lists(st.integers(4, 17), min_size=1, max_size=5),
    read_at_most=st.none() | st.integers(1, 7),
)
def test_pieces_make_up_the_log(text: str, limits: list[int], read_at_most: int | None) -> None:
    """Any sequence of limits gives the same text, with no character cut, and it comes to an end."""
    builds = MemoryBuilds()
    build_id = running(builds)
    builds.write(build_id, text.encode())
    finish(builds, build_id)
    builds.read_at_most = read_at_most
    http = client_of(builds)
    offset, found, turn = 0, "", 0
    while True:
        limit = limits[turn % len(limits)]
        turn += 1
        answer = http.get(f"{BUILDS}/{build_id}/log?offset={offset}&limit={limit}", auth=AUTH)
        assert answer.status_code == 200
        assert int(answer.headers["X-Log-Offset"]) == offset
        found += answer.data.decode()
        following = int(answer.headers["X-Log-Next-Offset"])
        if answer.headers["X-Log-Complete"] == "true":
            break
        assert offset < following <= offset + limit
        offset = following
    assert found == text


@no_fixture_reset
@given(
    text=texts,
    cuts=st.lists(st.integers(0, 240), max_size=4),
    events_per_connection=st.integers(3, 6),
    chunk=st.integers(4, 20),
    network=st.integers(1, 50),
)
def test_a_stream_resumes_at_the_byte(
    text: str, cuts: list[int], events_per_connection: int, chunk: int, network: int
) -> None:
    """However writes, connections and packets are cut: the same text, then the end."""
    raw = text.encode()
    builds = MemoryBuilds()
    build_id = running(builds)
    places = sorted(min(cut, len(raw)) for cut in cuts)
    parts = [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True)]
    offset, found = 0, ""
    ended = False
    before, sse.CHUNK_BYTES = sse.CHUNK_BYTES, chunk
    try:
        for _ in range(500):
            if parts:
                builds.write(build_id, parts.pop(0))
            else:
                finish(builds, build_id)
            stream = sse.stream(builds, build_id, offset, 0.0)
            raw_events = b""
            for _, piece in zip(range(events_per_connection), stream, strict=False):
                raw_events += piece
            stream.close()  # type: ignore[attr-defined]
            events = events_of(raw_events, network)
            found += text_of(events)
            offset = max([offset, *(int(one.id) for one in events if one.id)])
            if ended := any(one.name == "end" for one in events):
                break
    finally:
        sse.CHUNK_BYTES = before
    assert ended
    assert found == text
    assert offset == len(raw)
    assert builds.watches == []


def test_last_event_id_beats_the_offset(http: Any, builds: MemoryBuilds) -> None:
    """A browser repeats the URL it had; only the header knows how far it came."""
    build_id = running(builds)
    builds.write(build_id, LOG.encode())
    finish(builds, build_id)
    address = f"{BUILDS}/{build_id}/log/stream"
    assert text_of(events_of(http.get(address, auth=AUTH).data)) == LOG
    assert text_of(events_of(http.get(f"{address}?offset=8", auth=AUTH).data)) == LOG[8:]
    headers = {"Last-Event-ID": "10"}
    answer = http.get(f"{address}?offset=8", auth=AUTH, headers=headers)
    assert text_of(events_of(answer.data)) == LOG.encode()[10:].decode("utf-8", "replace")
    for bad in ({"Last-Event-ID": "-1"}, {"Last-Event-ID": "9" * 30}, {"Last-Event-ID": "x"}):
        assert http.get(address, auth=AUTH, headers=bad).status_code == 400


def test_only_who_says_so_attends(http: Any, builds: MemoryBuilds) -> None:
    """A page that somebody left open is no reason for a build to go on."""
    build_id = running(builds)
    finish(builds, build_id)
    address = f"{BUILDS}/{build_id}/log/stream"
    http.get(address, auth=AUTH).get_data()
    assert builds.attended == []
    http.get(f"{address}?attend=true", auth=AUTH).get_data()
    assert builds.attended == [build_id]
    assert http.get(f"{address}?attend=yes", auth=AUTH).status_code == 400


def test_the_stream_tells_states_and_ends_with_the_result(http: Any, builds: MemoryBuilds) -> None:
    """A state event first, an end event last, and headers that keep proxies from holding it."""
    build_id = running(builds)
    builds.write(build_id, b"x\n")
    finish(builds, build_id)
    answer = http.get(f"{BUILDS}/{build_id}/log/stream", auth=AUTH)
    assert answer.content_type == "text/event-stream; charset=utf-8"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["Cache-Control"] == "no-store"
    events = events_of(answer.data)
    assert [one.name for one in events] == ["state", "log", "end"]
    assert events[1].id == "2"
    assert json.loads(events[-1].data) == {
        "state": "SUCCEEDED",
        "phase": None,
        "reason": None,
        "message": None,
        "commit": "c" * 40,
        "digest": DIGEST,
        "images": [{"name": "registry.example.org/app:1", "digest": DIGEST}],
    }


def test_changes_are_told_as_they_happen(builds: MemoryBuilds) -> None:
    """Queue position, placement, log, cancellation: each wakes the stream; else comments."""
    first = running(builds)
    answer = client_of(builds).post(BUILDS, json=BODY, auth=AUTH)
    second = str(answer.json["id"])
    stream = sse.stream(builds, second, 0, 0.02)

    def until(name: str) -> dict[str, Any]:
        for piece in stream:
            for one in parse_events([piece]):
                if one.name == name:
                    found: dict[str, Any] = json.loads(one.data)
                    return found
        raise AssertionError(f"the stream ended without {name}")

    assert until("state")["position"] == 1
    assert next(stream) == b": keep-alive\n\n"
    builds.place(second)
    assert until("state")["state"] == "RUNNING"
    builds.write(second, b"hello")
    assert until("log") == {"text": "hello"}
    builds.apply(second, ev.CancelRequested("me"))
    assert until("state")["state"] == "CANCELLING"
    builds.apply(second, ev.TaskKilled(1))
    assert until("state")["state"] == "CANCELLED"
    builds.write(second, b" bye")  # the log's rest comes after the end of the task
    assert until("log") == {"text": " bye"}
    builds.apply(second, ev.LogCompleted())
    assert until("end")["state"] == "CANCELLED"
    assert list(stream) == []
    assert builds.watches == []
    assert first


def test_a_failing_store_ends_the_stream_with_a_problem(builds: MemoryBuilds) -> None:
    """So that the client reconnects instead of waiting for ever; no internals come out."""
    build_id = running(builds)
    stream = sse.stream(builds, build_id, 0, 0.01)
    next(stream)
    builds.store_fails()
    (event,) = events_of(b"".join(stream))
    assert event.name == "problem"
    assert json.loads(event.data)["code"] == "store_unavailable"
    assert "dbpassword" not in event.data
    assert builds.watches == []


def test_an_unexpected_error_ends_the_stream_too(
    builds: MemoryBuilds, caplog: pytest.LogCaptureFixture
) -> None:
    """Told in the log, not to the client."""
    build_id = running(builds)
    stream = sse.stream(builds, build_id, 0, 0.01)
    next(stream)
    builds.failure = RuntimeError("internal detail")
    (event,) = events_of(b"".join(stream))
    assert json.loads(event.data)["code"] == "internal_error"
    assert "internal detail" not in event.data
    assert "internal detail" in caplog.text


def test_nothing_stays_when_the_client_goes_away(server: str, builds: MemoryBuilds) -> None:
    """A closed connection is noticed at the next keep-alive, and the watch is closed."""
    build_id = running(builds)
    host, _, port = server.removeprefix("http://").partition(":")
    request = f"GET {BUILDS}/{build_id}/log/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Basic "
    token = base64.b64encode(":".join(AUTH).encode()).decode()
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{request}{token}\r\n\r\n".encode())
        received = b""
        while b"event: state" not in received:
            received += connection.recv(4096)
        assert len(builds.watches) == 1
    deadline = time.monotonic() + 10
    while builds.watches and time.monotonic() < deadline:
        time.sleep(0.02)
    assert builds.watches == []


def test_a_live_log_keeps_back_half_a_character(http: Any, builds: MemoryBuilds) -> None:
    """The other half is not written yet; once the log is complete what is there is shown."""
    build_id = running(builds)
    builds.write(build_id, "ab€".encode()[:-1])
    address = f"{BUILDS}/{build_id}/log"
    answer = http.get(address, auth=AUTH)
    assert (answer.text, answer.headers["X-Log-Next-Offset"]) == ("ab", "2")
    assert answer.headers["X-Log-Complete"] == "false"
    finish(builds, build_id)
    answer = http.get(address, auth=AUTH)
    assert (answer.text, answer.headers["X-Log-Next-Offset"]) == ("ab\ufffd", "4")
    assert answer.headers["X-Log-Complete"] == "true"


def test_a_log_is_text_and_nothing_else(http: Any, builds: MemoryBuilds) -> None:
    """A browser must not run what a build printed; bytes that are no text are replaced."""
    build_id = running(builds)
    builds.write(build_id, b"<script>\xff\xc3(\n")
    answer = http.get(f"{BUILDS}/{build_id}/log", auth=AUTH)
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.data.decode() == "<script>\ufffd\ufffd(\n"


@pytest.mark.parametrize(
    "query", ["offset=-1", "offset=x", "offset=٣", "limit=3", "limit=8388609", "offset=1&offset=2"]
)
def test_faulty_ranges_are_refused(http: Any, builds: MemoryBuilds, query: str) -> None:
    """By name, as everywhere."""
    build_id = running(builds)
    answer = http.get(f"{BUILDS}/{build_id}/log?{query}", auth=AUTH)
    assert answer.status_code == 400
    assert answer.json["errors"][0]["field"] == query.partition("=")[0]


def test_an_offset_behind_the_end_is_empty(http: Any, builds: MemoryBuilds) -> None:
    """Polling a log that has not grown is no error."""
    build_id = running(builds)
    builds.write(build_id, b"abc")
    answer = http.get(f"{BUILDS}/{build_id}/log?offset=1000", auth=AUTH)
    assert (answer.text, answer.headers["X-Log-Next-Offset"]) == ("", "1000")


@given(st.binary(max_size=8))
def test_incomplete_tails_are_what_python_says(data: bytes) -> None:
    """Against the standard library's incremental decoder, on tails of valid text."""
    text = data.decode("utf-8", "ignore")
    whole = text.encode()
    for end in range(len(whole) + 1):
        cut = whole[:end]
        kept = cut[: len(cut) - logtext.incomplete_tail(cut)]
        assert kept.decode() == cut.decode("utf-8", "ignore")


def test_many_followers_at_once(server: str, builds: MemoryBuilds) -> None:
    """Each gets the whole log."""
    build_id = running(builds)
    found: list[str] = []

    def follow() -> None:
        auth = HTTPBasicAuth(AUTH[0].encode(), AUTH[1].encode())
        answer = requests.get(f"{server}{BUILDS}/{build_id}/log/stream", auth=auth, timeout=20)
        found.append(text_of(events_of(answer.content)))

    threads = [threading.Thread(target=follow) for _ in range(5)]
    for thread in threads:
        thread.start()
    for line in LOG.splitlines(keepends=True):
        builds.write(build_id, line.encode())
    finish(builds, build_id)
    for thread in threads:
        thread.join(20)
    assert found == [LOG] * 5
