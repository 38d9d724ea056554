"""The way to an agent: single calls, and a POST whose endless answer is a stream of events."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Generator, Mapping
from typing import Any

from builder_framework.recordio import RecordReader
from executor.environment import AgentEnvironment, BadEnvironmentError, TlsFiles

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


class Agent:
    """Where the agent is and how it is spoken to: over TCP or TLS, as whom."""

    def __init__(self, env: AgentEnvironment, token: str | None = None) -> None:
        """`token`: the executor's own, from the agent. Raises BadEnvironmentError for TLS files."""
        self._host, self._port, self._path = env.host, env.port, env.path
        self._context = _context(env.tls) if env.tls is not None else None
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def connect(self, timeout: float) -> http.client.HTTPConnection:
        """A connection of its own, open; `timeout` in seconds for each of its steps.

        Raises OSError: ssl.SSLError and socket.gaierror are kinds of it.
        """
        connection = (
            http.client.HTTPConnection(self._host, self._port, timeout=timeout)
            if self._context is None
            else http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout, context=self._context
            )
        )
        with contextlib.ExitStack() as unless_open:
            unless_open.callback(connection.close)
            connection.connect()
            unless_open.pop_all()
        return connection

    def post(
        self, connection: http.client.HTTPConnection, call: Mapping[str, Any]
    ) -> http.client.HTTPResponse:
        """Send a call; the answer's head. Raises OSError or http.client.HTTPException."""
        connection.request("POST", self._path, json.dumps(call), self._headers)
        return connection.getresponse()

    def call(self, call: Mapping[str, Any], timeout: float) -> None:
        """One call, within about `timeout` seconds however slowly the agent answers.

        Raises OSError or http.client.HTTPException when nobody knows whether it was taken, and
        Refused when it was not.
        """
        connection = self.connect(timeout)
        with contextlib.closing(connection):
            # The socket's own timeout begins anew with every byte.
            watchdog = threading.Timer(timeout, _interrupt, (connection.sock,))
            watchdog.daemon = True
            watchdog.start()
            try:
                response = self.post(connection, call)
                answer = response.read(1024).decode(errors="replace")
            finally:
                watchdog.cancel()
            if response.status not in (http.HTTPStatus.OK, http.HTTPStatus.ACCEPTED):
                # Not the body that was sent: it may hold what must not be logged.
                raise Refused(f"HTTP {response.status}: {answer}")


class Subscription:
    """Raises OSError or http.client.HTTPException when the connection ends, in whatever way."""

    def __init__(self, agent: Agent, timeout: float) -> None:
        self._agent = agent
        self._timeout = timeout
        self._sock: socket.socket | None = None
        self._interrupted = False

    def events(self, call: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
        """Send `call` (SUBSCRIBE) and yield events until the agent closes the stream."""
        connection = self._agent.connect(self._timeout)
        with contextlib.closing(connection):
            sock = self._sock = connection.sock
            if self._interrupted:
                return
            for option in _KEEPALIVE:
                sock.setsockopt(*option)
            response = self._agent.post(connection, call)
            _refuse(response)
            sock.settimeout(None)
            reader = RecordReader()
            while data := response.read1(READ):
                for record in reader.feed(data):
                    yield json.loads(record)
        raise ConnectionError("the agent closed the event stream")

    def interrupt(self) -> None:
        """From another thread: end the wait for the next event."""
        self._interrupted = True
        if self._sock is not None:
            _interrupt(self._sock)


def _refuse(response: http.client.HTTPResponse) -> None:
    if response.status == http.HTTPStatus.OK:
        return
    answer = response.read(1024).decode(errors="replace")
    text = f"the agent answered {response.status} to SUBSCRIBE: {answer}"
    # 400: it does not know the executor (any more); 401, 403: not with this token.
    # Everything else (404 while it starts, 503 while it recovers) may pass.
    if response.status in (400, 401, 403):
        raise Refused(text)
    raise ConnectionError(text)


def _interrupt(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # An SSLSocket's own shutdown() would take its TLS state from under the reader.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _context(files: TlsFiles) -> ssl.SSLContext:
    """A TLS client's context. Raises BadEnvironmentError when a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=files.ca_file, capath=files.ca_directory)
        context.check_hostname = files.check_address
        if files.certificate is not None:
            context.load_cert_chain(files.certificate, files.key)
    except OSError as error:
        raise BadEnvironmentError(
            f"a file of LIBPROCESS_SSL_CA_FILE, _CERT_FILE or _KEY_FILE cannot be used: {error}"
        ) from error
    return context
