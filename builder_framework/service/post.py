"""One HTTP request to somebody else's server, which may be slow, rude or gone. Never raises."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from builder_framework.domain.delivery import MAX_ERROR_LENGTH
from builder_framework.domain.endpoints import Endpoint
from builder_framework.domain.reach import Reach


@dataclass(frozen=True)
class Limits:
    """Seconds to connect, TLS not included; seconds for all of it; bytes of the answer's body."""

    connect: float = 5.0
    total: float = 15.0
    answer: int = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """`status` is None when none came, `error` None when it was 2xx; `retry_after` as sent.

    `body`: the beginning of what was answered; it is the receiver's, and shown to nobody.
    """

    status: int | None
    error: str | None
    retry_after: str | None = None
    body: bytes = field(default=b"", repr=False, compare=False)


class Poster:
    """Posts to one endpoint after the other, each time on a connection of its own.

    No redirects, no proxies, no cookies, no credentials; certificates are verified.
    """

    def __init__(self, limits: Limits | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._limits = limits or Limits()
        self._tls = tls or ssl.create_default_context()

    def post(
        self,
        endpoint: Endpoint,
        body: bytes,
        headers: Mapping[str, str],
        reach: Reach | None = None,
    ) -> Answer:
        """Send `body` once and say what came of it. `reach`: only to addresses that it allows."""
        deadline = time.monotonic() + self._limits.total
        try:
            with self._connected(endpoint, deadline, reach) as connection:
                connection.request(
                    "POST",
                    endpoint.target,
                    body,
                    {**headers, "Host": endpoint.authority, "Connection": "close"},
                )
                response = connection.getresponse()
                if time.monotonic() >= deadline:
                    # http.client takes a header that was cut off for one that is complete.
                    raise TimeoutError
                said = b""
                with contextlib.suppress(OSError, http.client.HTTPException):
                    said = response.read(self._limits.answer)
                retry_after = response.getheader("Retry-After")
                return Answer(response.status, _judged(response), retry_after, said)
        except UnreachableError as error:
            return Answer(None, str(error))
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = time.monotonic() >= deadline
            why = f"no answer within {self._limits.total:g} s" if late else _why(error)
            return Answer(None, why[:MAX_ERROR_LENGTH])

    @contextlib.contextmanager
    def _connected(
        self, endpoint: Endpoint, deadline: float, reach: Reach | None
    ) -> Iterator[http.client.HTTPConnection]:
        """A connection that breaks at the deadline, however slowly its peer goes on."""
        raw = _connect(endpoint, self._limits.connect, reach)
        sock: socket.socket = raw
        # A second handle on the same connection: the first one goes to TLS, and is closed there.
        guard = raw.dup()
        breaker = threading.Timer(max(0.0, deadline - time.monotonic()), _break, [guard])
        breaker.daemon = True
        breaker.start()
        try:
            raw.settimeout(self._limits.total)
            if endpoint.scheme == "https":
                sock = self._tls.wrap_socket(raw, server_hostname=endpoint.host)
            connection = http.client.HTTPConnection(endpoint.host, endpoint.port)
            connection.sock = sock
            yield connection
        finally:
            breaker.cancel()
            guard.close()
            sock.close()
            raw.close()


class UnreachableError(Exception):
    """Where the name leads may not be gone to."""


def _connect(endpoint: Endpoint, seconds: float, reach: Reach | None) -> socket.socket:
    """To the first of the host's addresses that answers, within `seconds` for all of them.

    The name is looked up once: what was checked is what is connected to. One address that may not
    be reached is enough to refuse them all. Raises OSError, UnreachableError.
    """
    until = time.monotonic() + seconds
    failed: OSError = TimeoutError()
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    if reach is not None and not all(reach.allows(str(each[4][0])) for each in found):
        raise UnreachableError(
            "its name leads to an address that is not public; the operator may allow its network "
            "in the setting webhook_networks"
        )
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(0.001, until - time.monotonic()))
            sock.connect(address)
        except OSError as error:
            sock.close()
            failed = error
        else:
            return sock
    raise failed


def _break(guard: socket.socket) -> None:
    with contextlib.suppress(OSError):
        guard.shutdown(socket.SHUT_RDWR)


def _judged(response: http.client.HTTPResponse) -> str | None:
    """What is wrong with an answer. Its texts are the receiver's and are not repeated."""
    if 200 <= response.status < 300:
        return None
    if 300 <= response.status < 400:
        return f"answered {response.status}: redirects are not followed"
    return f"answered {response.status}"


def _why(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate cannot be verified: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or 'the connection broke off'}"
        case socket.gaierror():
            return f"its name cannot be resolved: {error.strerror}"
        case TimeoutError():
            return "the connection cannot be made in time"
        case http.client.RemoteDisconnected():
            return "it closed the connection without an answer"
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return f"no HTTP answer: {type(error).__name__}"
