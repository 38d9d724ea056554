"""An agent is asked for its work directory once, and one that does not tell is not bothered."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from builder_framework.mesos.agents import AgentWorkDirs
from builder_framework.mesos.tls import client_context

TLS = client_context(None)


class Flags(BaseHTTPRequestHandler):
    """Answers like an agent's `/slave(1)/flags`."""

    answer: tuple[int, str] = (200, "")
    asked: int = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        status, body = self.answer
        assert self.path == "/slave(1)/flags"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def agent() -> Iterator[tuple[type[Flags], str]]:
    handler = type("Handler", (Flags,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_the_checkpoints_of_an_agent_are_asked_for_once(agent: tuple[type[Flags], str]) -> None:
    handler, url = agent
    handler.answer = (200, json.dumps({"flags": {"work_dir": "/var/lib/mesos/"}}))
    work_dirs = AgentWorkDirs(TLS)
    for _ in range(3):
        assert work_dirs.checkpoints("a1", url) == "/var/lib/mesos/meta"
    assert handler.asked == 1


@pytest.mark.parametrize(
    "answer",
    [
        (401, ""),
        (200, "<html>"),
        (200, "{}"),
        (200, '{"flags": []}'),
        (200, '{"flags": {"work_dir": "relative"}}'),
        (200, '{"flags": {"work_dir": 5}}'),
    ],
)
def test_an_agent_that_does_not_tell_is_asked_again_a_minute_later(
    agent: tuple[type[Flags], str], answer: tuple[int, str]
) -> None:
    handler, url = agent
    handler.answer = answer
    now = [100.0]
    work_dirs = AgentWorkDirs(TLS, clock=lambda: now[0])
    assert work_dirs.checkpoints("a1", url) is None
    assert work_dirs.checkpoints("a1", url) is None
    assert handler.asked == 1
    now[0] += 60.0
    handler.answer = (200, '{"flags": {"work_dir": "/w"}}')
    assert work_dirs.checkpoints("a1", url) == "/w/meta"


def test_an_agent_that_is_not_there_costs_its_builds_nothing() -> None:
    assert AgentWorkDirs(TLS).checkpoints("a1", "http://127.0.0.1:1") is None
    assert AgentWorkDirs(TLS).checkpoints("a1", "nonsense") is None
