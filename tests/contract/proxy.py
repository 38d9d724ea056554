"""A TCP proxy before a database server that loses what it is told to lose."""

from __future__ import annotations

import contextlib
import enum
import socket
import threading


class Commit(enum.Enum):
    """What becomes of the next COMMIT, before the connection is cut."""

    PASSED = enum.auto()
    """Nothing is lost."""
    UNANSWERED = enum.auto()
    """It reaches the server, its answer gets lost."""
    DROPPED = enum.auto()
    """It gets lost."""
    DELAYED = enum.auto()
    """It reaches the server when `release` is called; until then nobody can connect."""


class Proxy:
    """Listens on 127.0.0.1 and forwards to a port there."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.commit = Commit.PASSED
        self.away = False
        self._late: tuple[socket.socket, bytes] | None = None
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def release(self) -> None:
        """Deliver the COMMIT that was delayed, and let everybody connect again."""
        assert self._late is not None
        server, data = self._late
        server.sendall(data)
        # The server's answer, and that it is done with it.
        server.recv(1000)
        server.close()
        self.away = False

    def close(self) -> None:
        for each in self._sockets:
            _close(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = None if self.away else socket.create_connection(self._target)
                except ConnectionRefusedError:
                    server = None
                if server is None:
                    client.close()
                    continue
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                # The whole statement: a BEGIN may ask for READ COMMITTED.
                fate = self.commit if b"COMMIT\0" in data else Commit.PASSED
                if fate is not Commit.PASSED:
                    self.commit = Commit.PASSED
                    self._lose(fate, data, source, sink)
                    return
                sink.sendall(data)
        for each in (source, sink):
            if not self._late or each is not self._late[0]:
                _close(each)

    def _lose(
        self, fate: Commit, data: bytes, client: socket.socket, server: socket.socket
    ) -> None:
        if fate is Commit.DELAYED:
            # Not the socket that the other pump reads from: it is to be read in `release`.
            self._late = (server.dup(), data)
            self.away = True
            _close(client)
            return
        _close(client)
        if fate is Commit.UNANSWERED:
            server.sendall(data)
        _close(server, socket.SHUT_WR)


def _close(one: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(how)
    if how == socket.SHUT_RDWR:
        one.close()
