"""An HTTP proxy in front of a registry that spoils one request, chosen by its number or its words.

A client may also use it as its proxy for everything: what has a whole URL goes where that leads.
"""

from __future__ import annotations

import contextlib
import enum
import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

RETRY_AFTER = 1
"""Seconds that a 429 asks for."""

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Fault(str, enum.Enum):
    """What happens to a request. The registry sees it in the cases LOST and TRUNCATED only."""

    ERROR_500 = "500"
    UNAVAILABLE = "503"
    TOO_MANY = "429"
    RESET = "reset"
    SILENT = "silent"
    LOST = "lost"
    TRUNCATED = "truncated"


@dataclass(frozen=True)
class Seen:
    """One request; `status` is what the registry answered, None if it never saw it.

    `at`: when its answer began, by `time.monotonic`.
    """

    method: str
    path: str
    status: int | None
    at: float = field(default_factory=time.monotonic)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def do_GET(self) -> None:
        proxy = self.server
        body = self._body()
        fault = proxy.next_fault(self.command, self.path)
        if fault in (Fault.ERROR_500, Fault.UNAVAILABLE, Fault.TOO_MANY):
            proxy.note(self, None)
            self._refuse(int(fault.value))
        elif fault is Fault.RESET:
            proxy.note(self, None)
            self._reset()
        elif fault is Fault.SILENT:
            proxy.note(self, None)
            self._wait_for_hang_up()
        else:
            self._forward(body, fault)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _forward(self, body: bytes, fault: Fault | None) -> None:
        url = urlsplit(self.path)
        upstream = http.client.HTTPConnection(url.netloc or self.server.upstream, timeout=20)
        # Only a proxy is told the whole URL (RFC 9112, 3.2).
        path = url._replace(scheme="", netloc="").geturl()
        with contextlib.closing(upstream):
            headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
            upstream.request(self.command, path, body, headers)
            response = upstream.getresponse()
            content = response.read()
        self.server.note(self, response.status)
        if fault is Fault.LOST:
            self._reset()
            return
        length = response.headers.get("Content-Length", str(len(content)))
        lines = [f"HTTP/1.1 {response.status} {response.reason}"]
        lines += [f"{k}: {v}" for k, v in response.getheaders() if k.lower() not in HOP_BY_HOP]
        head = "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode("latin-1")
        data = head + content
        if fault is Fault.TRUNCATED:
            self.wfile.write(data[: len(head) + len(content) // 2 if content else len(head) // 2])
            self.close_connection = True
            return
        self.wfile.write(data)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(content)

    def _refuse(self, status: int) -> None:
        body = json.dumps({"errors": [{"code": "UNAVAILABLE", "message": "for now"}]}).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", str(RETRY_AFTER))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _wait_for_hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.recv(1)
        self.close_connection = True

    def send_error(self, *_: object, **__: object) -> None:
        """What a client gets that tries TLS; Docker knows by the first word that there is none."""
        self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class FaultyProxy(ThreadingHTTPServer):
    """Forwards everything to `upstream` (`host:port`); request number `at` (from 0) is spoilt.

    With `chosen` the one with that number among those whose method and path it takes. `host`: the
    address to listen on.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        upstream: str,
        fault: Fault | None = None,
        at: int = 0,
        *,
        chosen: Callable[[str, str], bool] = lambda _method, _path: True,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__((host, 0), _Handler)
        self.upstream = upstream
        self.seen: list[Seen] = []
        self._fault = fault
        self._at = at
        self._chosen = chosen
        self._count = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """By default on the loopback network, where Docker asks for no TLS."""
        host, port = self.server_address[:2]
        return f"{host!s}:{port}"

    @property
    def count(self) -> int:
        """Requests so far, of those that were chosen from."""
        return self._count

    def next_fault(self, method: str, path: str) -> Fault | None:
        """What is to happen to the request that is at hand."""
        if not self._chosen(method, path):
            return None
        with self._lock:
            number, self._count = self._count, self._count + 1
        return self._fault if number == self._at else None

    def note(self, request: BaseHTTPRequestHandler, status: int | None) -> None:
        """Remember a request."""
        with self._lock:
            self.seen.append(Seen(request.command, request.path, status))

    def handle_error(self, *_: object) -> None:
        """Clients hang up; that is what these tests are about."""

    def server_close(self) -> None:
        self.shutdown()
        super().server_close()
