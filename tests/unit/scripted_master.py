"""A v1 master that does what a real one cannot be told to do: 503, silence, ERROR, no answer.

The rest of Mesos is tested on a real one, in tests/integration.
"""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.unit.waiting import until

Json = dict[str, Any]


def subscribed(heartbeat: float = 15.0) -> Json:
    """The first event of a subscription."""
    content = {"framework_id": {"value": "f1"}, "heartbeat_interval_seconds": heartbeat}
    return {"type": "SUBSCRIBED", "subscribed": content}


def record(event: Json) -> bytes:
    """An event in RecordIO."""
    data = json.dumps(event).encode()
    return b"%d\n%s" % (len(data), data)


@dataclass
class ScriptedMaster:
    """`refuse`: status for SUBSCRIBE instead of a stream, with `reason` as body and `location`.

    `events`: what a stream begins with; `say` and `raw` go on, `hang_up` ends it. `mute`: SUBSCRIBE
    is not answered. `call_status`: answer to other calls, None: never; `keeps_alive` False: the
    connection is closed behind it without a word. `get`: the answer to any GET, None: 404.
    `calls`: bodies of all calls, in order, and their `headers`.
    """

    refuse: int | None = None
    reason: str = ""
    location: str | None = None
    events: list[Json] = field(default_factory=lambda: [subscribed()])
    mute: bool = False
    call_status: int | None = 202
    keeps_alive: bool = True
    get: Json | None = None
    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    calls: list[Json] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self.streams: list[queue.Queue[bytes | None]] = []
        handler = type("Handler", (_Handler,), {"master": self})
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        server_type = type("Server", (_Server,), {"address_family": family})
        self._server = server_type((self.host, 0), handler)
        self._server.tls = self.tls
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def close(self) -> None:
        self._over.set()
        for stream in self.streams:
            stream.put(None)
        self._server.shutdown()
        self._server.server_close()

    def say(self, *events: Json) -> None:
        """Go on with the newest stream."""
        self.raw(b"".join(map(record, events)))

    def raw(self, data: bytes) -> None:
        """Bytes as they are, in the newest stream."""
        self.streams[-1].put(data)

    def hang_up(self) -> None:
        """End the newest stream."""
        self.streams[-1].put(None)

    def of_type(self, kind: str) -> list[Json]:
        return [call for call in self.calls if call["type"] == kind]

    def wait_for(self, kind: str, count: int = 1) -> Json:
        """The newest call of that type, once there are `count` of them."""
        until(lambda: len(self.of_type(kind)) >= count)
        return self.of_type(kind)[-1]

    def hold(self) -> None:
        """Keep a connection open, saying nothing, for as long as the test takes."""
        self._over.wait(60)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        # The handshake belongs to the connection's thread, not to the one that accepts.
        with (
            contextlib.suppress(OSError),
            self.tls.wrap_socket(request, server_side=True) as secure,
        ):
            super().finish_request(secure, client_address)

    def handle_error(self, *_: object) -> None:
        """Clients that go away are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    master: ScriptedMaster

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.master.calls.append(body)
        self.master.headers.append(dict(self.headers.items()))
        if body["type"] != "SUBSCRIBE":
            self._answer_call()
        elif self.master.mute:
            self.master.hold()
            self.close_connection = True
        elif self.master.refuse is not None:
            self._plain(self.master.refuse, self.master.reason, self.master.location)
        else:
            self._stream()

    def do_GET(self) -> None:
        if self.master.get is None:
            self._plain(404)
        else:
            self._plain(200, json.dumps(self.master.get))

    def _answer_call(self) -> None:
        if self.master.call_status is None:
            self.master.hold()
            self.close_connection = True
            return
        self._plain(self.master.call_status)
        self.close_connection = not self.master.keeps_alive

    def _plain(self, status: int, body: str = "", location: str | None = None) -> None:
        self.send_response(status)
        if location is not None:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Mesos-Stream-Id", f"stream-{len(self.master.calls)}")
        self.end_headers()
        said: queue.Queue[bytes | None] = queue.Queue()
        for event in self.master.events:
            said.put(record(event))
        self.master.streams.append(said)
        while (data := said.get()) is not None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Quiet."""
