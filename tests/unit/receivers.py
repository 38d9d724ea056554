"""Servers that webhooks may meet: real ones, on loopback, each as rude as its test wants it."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """What arrived; header names in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Accepts, and lets `behave` do what it likes with each connection."""

    behave: Callable[[Receiver, socket.socket], None]
    tls: ssl.SSLContext | None = None
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0

    def __post_init__(self) -> None:
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/t0ken?x=1"

    def close(self) -> None:
        self.over.set()
        # close() alone would leave accept() waiting.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            with contextlib.suppress(OSError), connection:
                if self.tls is not None:
                    connection = self.tls.wrap_socket(connection, server_side=True)
                self.behave(self, connection)
                connection.close()
        finally:
            with self._lock:
                self.at_once -= 1

    def take(self, connection: socket.socket) -> Request:
        """Read one request and remember it."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more(connection)
        head, _, body = data.partition(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (one.partition(":") for one in fields)}
        while len(body) < int(headers.get("content-length", 0)):
            body += self._more(connection)
        request = Request(line, headers, body)
        self.requests.append(request)
        return request

    @staticmethod
    def _more(connection: socket.socket) -> bytes:
        if not (data := connection.recv(65536)):
            raise ConnectionResetError
        return data


def answers(*statuses: str, headers: str = "") -> Callable[[Receiver, socket.socket], None]:
    """Takes each request and answers with the next status, the last one for ever."""
    left = list(statuses)

    def behave(receiver: Receiver, connection: socket.socket) -> None:
        receiver.take(connection)
        status = left.pop(0) if len(left) > 1 else left[0]
        connection.sendall(f"HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n".encode())

    return behave


def holds(receiver: Receiver, connection: socket.socket) -> None:
    """Takes the request and answers when the test is over: the receiver that needs a minute."""
    receiver.take(connection)
    receiver.over.wait(60)


def never_reads(receiver: Receiver, connection: socket.socket) -> None:
    """Leaves the request in the socket."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    receiver.over.wait(60)


def drips(receiver: Receiver, connection: socket.socket) -> None:
    """Sends a header that never ends, byte by byte: no single read is slow."""
    receiver.take(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not receiver.over.wait(0.02):
        connection.sendall(b"a")


def continues(receiver: Receiver, connection: socket.socket) -> None:
    """Says 100 Continue for ever."""
    receiver.take(connection)
    while not receiver.over.wait(0.01):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def resets(receiver: Receiver, connection: socket.socket) -> None:
    """Takes the request and resets the connection."""
    receiver.take(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hangs_up(receiver: Receiver, connection: socket.socket) -> None:
    """Takes the request and closes."""
    receiver.take(connection)


def babbles(receiver: Receiver, connection: socket.socket) -> None:
    """Answers something that is not HTTP."""
    receiver.take(connection)
    connection.sendall(b"220 smtp.example.org ESMTP\r\n")


@contextlib.contextmanager
def receiving(
    behave: Callable[[Receiver, socket.socket], None],
    tls: ssl.SSLContext | None = None,
    port: int = 0,
) -> Iterator[Receiver]:
    """A receiver for as long as the block takes."""
    receiver = Receiver(behave, tls, port)
    try:
        yield receiver
    finally:
        receiver.close()
