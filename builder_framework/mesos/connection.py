"""One HTTP exchange with a master or an agent: over TLS or not, in bounded time, interruptible.

`http.client` limits each read, so a peer that sends a byte now and then holds it for ever. Here a
deadline holds for as long as it is not set anew.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from builder_framework.addresses import Address

CONNECT_TIMEOUT = 5.0
"""Seconds for each address of a host's name, and as much again for the TLS handshake."""

AGENT_PORT = 5051


class Connection:
    """Methods raise OSError (TimeoutError among them) or http.client.HTTPException."""

    def __init__(
        self, address: Address, tls: ssl.SSLContext | None, *, name: str | None = None
    ) -> None:
        """`name`: what the certificate has to say; the address' host when None."""
        self._address = address
        self._tls = tls
        self._name = name or address.host
        self._sock: socket.socket | None = None
        self._interrupted = False
        self._wire = _Wire()
        host = Address(self._name, address.port)
        self._http = http.client.HTTPConnection(str(host))

    def close(self) -> None:
        """Give the socket back."""
        if self._sock is not None:
            self._sock.close()

    @property
    def peer(self) -> Address:
        """The address that answered, of those that the name has."""
        if self._sock is None:
            raise OSError("not connected")
        return Address(*self._sock.getpeername()[:2])

    def open(self) -> None:
        """Connect to the first address of the host that answers."""
        host, port = self._address.host, self._address.port
        problem: OSError = OSError(f"{host} has no address")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, place in found:
            failed = self._try(family, kind, protocol, place)
            if failed is None:
                return
            problem = failed
            if self._interrupted:
                break
        raise problem

    def _try(self, family: int, kind: int, protocol: int, place: Any) -> OSError | None:
        try:
            self._use(socket.socket(family, kind, protocol))
            self._connect(place)
        except OSError as error:
            self.close()
            return error
        return None

    def _use(self, sock: socket.socket) -> None:
        self._sock = sock
        if self._interrupted:
            raise InterruptedError("interrupted")

    def _connect(self, place: Any) -> None:
        sock = self._sock
        if sock is None:
            raise OSError("no socket")
        sock.settimeout(CONNECT_TIMEOUT)
        sock.connect(place)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            secure = self._tls.wrap_socket(
                sock, server_hostname=self._name, do_handshake_on_connect=False
            )
            self._use(secure)
            secure.do_handshake()

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> None:
        """Send; `timeout` seconds for that and for the head of the answer."""
        if self._sock is None:
            raise OSError("not connected")
        self._wire.use(self._sock)
        self.expect_within(timeout)
        self._http.sock = self._wire
        self._http.request(method, path, body=body, headers=dict(headers))

    def answer(self) -> http.client.HTTPResponse:
        """Wait for the head of the answer."""
        return self._http.getresponse()

    def expect_within(self, seconds: float) -> None:
        """What is read from now on has to arrive within `seconds`, until this is called again."""
        self._wire.deadline = time.monotonic() + seconds

    def interrupt(self) -> None:
        """From another thread: whatever this connection waits for ends now, with an OSError."""
        self._interrupted = True
        sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket's, which takes the TLS state from under the reader.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


def get(
    base_url: str, path: str, tls: ssl.SSLContext, timeout: float, limit: int
) -> tuple[int, bytes]:
    """Status and body of a GET at an agent; an `https` URL is spoken to over TLS.

    Raises OSError or http.client.HTTPException, also for a body of more than `limit` bytes.
    """
    url = urlsplit(base_url)
    if url.hostname is None:
        raise OSError("its address is not known")
    address = Address(url.hostname, url.port or AGENT_PORT)
    connection = Connection(address, tls if url.scheme == "https" else None)
    with contextlib.closing(connection):
        connection.open()
        connection.request("GET", path, {}, None, timeout)
        response = connection.answer()
        body = response.read(limit + 1)
    if len(body) > limit:
        raise OSError(f"it answers with more than {limit} bytes")
    return response.status, body


class _Wire:
    """What `http.client` needs of a socket; each operation ends at the deadline."""

    def __init__(self) -> None:
        self.deadline = 0.0
        self._sock: socket.socket | None = None

    def use(self, sock: socket.socket) -> None:
        self._sock = sock

    def _armed(self) -> socket.socket:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        if self._sock is None:
            raise OSError("not connected")
        self._sock.settimeout(remaining)
        return self._sock

    def sendall(self, data: bytes) -> None:
        self._armed().sendall(data)

    def receive(self, buffer: Any) -> int:
        return self._armed().recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self), 64 * 1024)

    def close(self) -> None:
        """`http.client` is done with it; the socket is `Connection`'s."""


class _Incoming(io.RawIOBase):
    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.receive(buffer)
