"""Lets an engine's containers ask the name server that only this container can reach.

On a network of its own Docker answers names at 127.0.0.11, in each container for itself
(https://docs.docker.com/engine/network/#dns-services). A nested engine's containers have a loopback
of their own, so that dockerd gives them public servers instead, which know no name of the cluster.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

PORT = 53
TIMEOUT = 5.0
"""Seconds for an answer; resolvers ask again after as long (resolv.conf(5))."""

_LARGEST = 65535
_IP_FREEBIND = 15
"""Linux' ip(7), which Python does not name: the bridge comes with dockerd."""


def loopback_server(file: Path = Path("/etc/resolv.conf")) -> str | None:
    """The first name server, if it is one that only this container reaches."""
    with contextlib.suppress(OSError):
        for line in file.read_text(errors="replace").splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                with contextlib.suppress(ValueError):
                    return words[1] if ipaddress.ip_address(words[1]).is_loopback else None
    return None


@contextlib.contextmanager
def relay(
    address: str, upstream: str, port: int = PORT, upstream_port: int = PORT
) -> Iterator[None]:
    """Hand on what is asked at `address`, by UDP and TCP (RFC 1035 §4.2), while the block runs.

    Raises OSError.
    """
    target = (upstream, upstream_port)

    class Datagrams(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            query, listener = self.request
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                out.settimeout(TIMEOUT)
                with contextlib.suppress(OSError):
                    out.sendto(query, target)
                    listener.sendto(out.recv(_LARGEST), self.client_address)

    class Connections(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError), socket.create_connection(target, TIMEOUT) as out:
                self.request.settimeout(TIMEOUT)
                while message := _message(self.request):
                    out.sendall(message)
                    self.request.sendall(_message(out))

    with contextlib.ExitStack() as stack:
        for kind, handler in ((_Udp, Datagrams), (_Tcp, Connections)):
            server = stack.enter_context(kind((address, port), handler))
            thread = threading.Thread(
                target=server.serve_forever, args=(0.1,), name="dns", daemon=True
            )
            thread.start()
            stack.callback(server.shutdown)
        logger.info("names are answered at %s by way of %s", address, upstream)
        yield


def _message(connection: socket.socket) -> bytes:
    """One message with its length before it; nothing at the end."""
    head = _exactly(connection, 2)
    return head + _exactly(connection, struct.unpack("!H", head)[0]) if len(head) == 2 else b""


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data


class _Freebind(socketserver.BaseServer):
    socket: socket.socket

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
        super().server_bind()  # type: ignore[misc]


class _Udp(_Freebind, socketserver.ThreadingUDPServer):
    daemon_threads = True
    max_packet_size = _LARGEST


class _Tcp(_Freebind, socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
