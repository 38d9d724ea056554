"""One subscription to an agent: a POST whose endless answer is a stream of events (RecordIO)."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any

MAX_RECORD = 64 * 1024 * 1024
"""Bytes of one event. A TaskInfo is the largest, and its data is limited far below."""

READ = 64 * 1024

# The agent's heartbeats are half an hour apart, so the kernel looks after a dead peer.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


class Refused(Exception):  # noqa: N818  (an answer, not a fault)
    """The agent has answered, and trying the same again is pointless."""


class RecordReader:
    """RecordIO (`<length>\\n<length bytes>`), fed in pieces of any size."""

    def __init__(self, limit: int = MAX_RECORD) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The records that `data` completes. Raises ValueError when out of step."""
        self._buffer += data
        while True:
            end = self._buffer.find(b"\n", 0, 20)
            if end < 0:
                if len(self._buffer) >= 20:
                    raise ValueError("no record's length where one should be")
                return
            digits = bytes(self._buffer[:end])
            if not digits.isdigit() or int(digits) > self._limit:
                raise ValueError(f"not the length of a record: {digits!r}")
            stop = end + 1 + int(digits)
            if len(self._buffer) < stop:
                return
            record = bytes(self._buffer[end + 1 : stop])
            del self._buffer[:stop]
            yield record


class Subscription:
    """Raises OSError or http.client.HTTPException when the connection ends, in whatever way."""

    def __init__(self, address: str, path: str, headers: Mapping[str, str], timeout: float) -> None:
        host, _, port = address.rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
        self._path = path
        self._headers = dict(headers)
        self._sock: socket.socket | None = None

    def events(self, call: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Send `call` (SUBSCRIBE) and yield events until the agent closes the stream."""
        connection = self._connection
        connection.connect()
        sock = self._sock = connection.sock
        for option in _KEEPALIVE:
            sock.setsockopt(*option)
        connection.request("POST", self._path, json.dumps(call), self._headers)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            answer = response.read(1024).decode(errors="replace")
            text = f"the agent answered {response.status} to SUBSCRIBE: {answer}"
            # 400: it does not know the executor (any more); 401, 403: not with this token.
            # Everything else (404 while it starts, 503 while it recovers) may pass.
            if response.status in (400, 401, 403):
                raise Refused(text)
            raise ConnectionError(text)
        sock.settimeout(None)
        reader = RecordReader()
        while data := response.read1(READ):
            for record in reader.feed(data):
                yield json.loads(record)
        raise ConnectionError("the agent closed the event stream")

    def interrupt(self) -> None:
        """From another thread: end the wait for the next event."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket back."""
        self._connection.close()
