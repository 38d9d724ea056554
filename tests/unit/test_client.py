"""The Python client against the API: what it gives, and when it asks again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from builder_framework.client import ApiError, Client, ConnectionFailedError, Secret
from builder_framework.client.retry import LONGEST_WAIT_SECONDS, patiently
from builder_framework.domain import events as ev
from builder_framework.protocol import Report
from tests.unit.builds_double import BODY, PASSWORD, USER, MemoryBuilds

pytest_plugins = ("tests.unit.conftest_api",)


@pytest.fixture
def client(server: str) -> Iterator[Client]:
    with Client(server, USER, Secret(PASSWORD), waits=(0.0,)) as made:
        yield made


def test_from_submission_to_end(client: Client, builds: MemoryBuilds) -> None:
    build = client.submit(BODY)
    assert build["state"] == "QUEUED"
    assert client.queue()["builds"][0]["id"] == build["id"]
    builds.place(build["id"])
    builds.write(build["id"], "größer\n".encode())
    assert client.log(build["id"]).text == "größer\n"
    assert client.agents() == {"agents": [], "slots": 8, "message": None}
    builds.apply(build["id"], ev.TaskSucceeded(1, Report()), ev.LogCompleted())
    seen: list[str] = []
    assert client.follow(build["id"], seen.append)["state"] == "SUCCEEDED"
    assert seen == ["größer\n"]
    assert [each["id"] for each in client.list({"state": "SUCCEEDED"})] == [build["id"]]
    assert client.get(build["id"])["log"]["complete"]
    again = client.rebuild(build["id"])
    assert again["id"] != build["id"]
    assert client.cancel(again["id"])["state"] == "CANCELLED"
    assert client.whoami()["name"] == USER


def test_what_is_wrong_is_told_field_by_field(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.submit({"images": []})
    assert (caught.value.status, caught.value.problem_code) == (400, "invalid_input")
    assert {problem.field for problem in caught.value.problems} == {"source", "images"}
    with pytest.raises(ApiError) as caught:
        client.get("0" * 16)
    assert caught.value.status == 404


class Script(ThreadingHTTPServer):
    """Answers each request with the next status; the last one with `{}`."""

    def __init__(self, *statuses: int) -> None:
        self.left = list(statuses)
        self.asked: list[tuple[str, str | None]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Script

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.headers.get("Idempotency-Key")))
        status = self.server.left.pop(0)
        body = b"{}"
        self.send_response(status)
        if status == 503:
            self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815  (the standard library's names)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def scripted() -> Iterator[Callable[..., tuple[Client, Script]]]:
    running: list[Script] = []

    def start(*statuses: int) -> tuple[Client, Script]:
        made = Script(*statuses)
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        running.append(made)
        return Client(made.url, USER, Secret("p"), waits=(0.0, 0.0)), made

    yield start
    for each in running:
        each.shutdown()
        each.server_close()


def test_reads_and_submissions_are_tried_again(
    scripted: Callable[..., tuple[Client, Script]],
) -> None:
    client, server = scripted(502, 503, 200)
    client.whoami()
    assert len(server.asked) == 3
    client, server = scripted(500, 202)
    client.submit(BODY)
    assert len(server.asked) == 2
    assert len(set(server.asked)) == 1  # with one key, so that it makes one build


def test_what_may_have_happened_is_not_done_twice(
    scripted: Callable[..., tuple[Client, Script]],
) -> None:
    client, server = scripted(502, 200)
    with pytest.raises(ApiError):
        client.cancel("x")
    assert len(server.asked) == 1
    client, server = scripted(503, 202)
    client.cancel("x")
    assert len(server.asked) == 2


def test_refusals_are_not_repeated(scripted: Callable[..., tuple[Client, Script]]) -> None:
    client, server = scripted(403, 200)
    with pytest.raises(ApiError):
        client.whoami()
    assert len(server.asked) == 1


def test_the_server_says_how_long_to_wait() -> None:
    waited: list[float] = []
    errors = iter([ApiError(503, "", "away", retry_after=7.0), ApiError(429, "", "x", (), 1e9)])

    def call() -> str:
        for error in errors:
            raise error
        return "done"

    notes: list[str] = []
    found = patiently(call, (1.0, 1.0), repeatable=False, note=notes.append, sleep=waited.append)
    assert found == "done"
    assert waited == [7.0, LONGEST_WAIT_SECONDS]
    assert notes[0] == "away; trying again in 7 s"


def test_the_last_failure_is_told() -> None:
    def call() -> str:
        raise ConnectionFailedError("gone")

    with pytest.raises(ConnectionFailedError, match="gone"):
        patiently(call, (0.0,), repeatable=True, sleep=lambda _: None)
