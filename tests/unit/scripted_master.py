"""A v1 master that does what a real one cannot be told to do: 503, silence, ERROR, no answer.

The rest of Mesos is tested on a real one, in tests/integration.
"""

from __future__ import annotations

import json
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


@dataclass
class ScriptedMaster:
    """`refuse`: status for SUBSCRIBE instead of a stream. `events`: what a stream says.

    `call_status`: answer to other calls, None: never. `calls`: bodies of all calls, in order.
    """

    refuse: int | None = None
    events: list[Json] = field(default_factory=lambda: [subscribed()])
    call_status: int | None = 202
    calls: list[Json] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        handler = type("Handler", (_Handler,), {"master": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def of_type(self, kind: str) -> list[Json]:
        return [call for call in self.calls if call["type"] == kind]

    def wait_for(self, kind: str, count: int = 1) -> Json:
        """The newest call of that type, once there are `count` of them."""
        until(lambda: len(self.of_type(kind)) >= count)
        return self.of_type(kind)[-1]

    def hold(self) -> None:
        """Keep a connection open, saying nothing, for as long as the test takes."""
        self._over.wait(60)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    master: ScriptedMaster

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.master.calls.append(body)
        self.master.headers.append(dict(self.headers.items()))
        if body["type"] != "SUBSCRIBE":
            self._answer_call()
        elif self.master.refuse is not None:
            self._plain(self.master.refuse)
        else:
            self._stream()

    def do_GET(self) -> None:
        self._plain(404)

    def _answer_call(self) -> None:
        if self.master.call_status is None:
            self.master.hold()
            return
        self._plain(self.master.call_status)

    def _plain(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Mesos-Stream-Id", f"stream-{len(self.master.calls)}")
        self.end_headers()
        for event in self.master.events:
            data = json.dumps(event).encode()
            record = b"%d\n%s" % (len(data), data)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(record), record))
            self.wfile.flush()
        self.master.hold()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Quiet."""
