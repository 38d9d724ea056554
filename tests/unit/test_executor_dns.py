"""Names are asked for by way of the relay, whatever they are."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor import dns


class _Udp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        query, out = self.request
        out.sendto(b"answer to " + query, self.client_address)


class _Tcp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while head := self.request.recv(2):
            query = self.request.recv(struct.unpack("!H", head)[0])
            answer = b"answer to " + query
            self.request.sendall(struct.pack("!H", len(answer)) + answer)


@pytest.fixture
def relayed() -> Iterator[tuple[str, int]]:
    """Where names may be asked for."""
    with (
        socketserver.ThreadingUDPServer(("127.0.0.1", 0), _Udp) as udp,
        socketserver.ThreadingTCPServer(("127.0.0.1", udp.server_address[1]), _Tcp) as tcp,
    ):
        for server in (udp, tcp):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        port = udp.server_address[1]
        with dns.relay("127.0.0.2", "127.0.0.1", port, port):
            yield "127.0.0.2", port
        udp.shutdown()
        tcp.shutdown()


def test_by_udp(relayed: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        for query in (b"one", b"two"):
            client.sendto(query, relayed)
            assert client.recv(1000) == b"answer to " + query


def test_by_tcp_several_in_one_connection(relayed: tuple[str, int]) -> None:
    with socket.create_connection(relayed, 5) as client:
        for query in (b"one", b"x" * 5000):
            client.sendall(struct.pack("!H", len(query)) + query)
            expected = b"answer to " + query
            data = b""
            while len(data) < len(expected) + 2:
                data += client.recv(10_000)
            assert data[2:] == expected


def test_who_is_not_there_costs_no_more_than_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dns, "TIMEOUT", 0.1)
    with dns.relay("127.0.0.2", "127.0.0.1", 15353, 9):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.5)
            client.sendto(b"query", ("127.0.0.2", 15353))
            with pytest.raises(TimeoutError):
                client.recv(100)
        with socket.create_connection(("127.0.0.2", 15353), 5) as client:
            client.sendall(b"\0\1x")
            assert client.recv(10) == b""


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("search x\nnameserver 127.0.0.11\nnameserver 10.0.0.1\n", "127.0.0.11"),
        ("nameserver 10.0.0.1\nnameserver 127.0.0.11\n", None),
        ("nameserver nonsense\n", None),
        ("", None),
    ],
)
def test_only_a_server_on_loopback_needs_it(tmp_path: Path, text: str, server: str | None) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(text)
    assert dns.loopback_server(file) == server
    assert dns.loopback_server(tmp_path / "missing") is None
