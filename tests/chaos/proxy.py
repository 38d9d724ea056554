"""A TCP proxy whose line can be cut: by silence, as a network does it, or by a reset."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

_CHUNK = 1 << 16
_CONNECT_SECONDS = 5.0
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 s: close() sends RST instead of FIN."""


class Proxy:
    """Listens on `host:port` and hands every connection on to `target`."""

    def __init__(self, host: str, port: int, target: str) -> None:
        target_host, _, target_port = target.rpartition(":")
        self._target = (target_host, int(target_port))
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((host, port))
        self.address = f"{host}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def silence(self) -> None:
        """Connections stay open and carry nothing; new ones are taken and carry nothing either."""
        self._flowing.clear()

    def flow(self) -> None:
        """What was held back arrives, in order."""
        self._flowing.set()

    def reset(self) -> None:
        """Every connection breaks at both ends."""
        with self._lock:
            broken, self._open = self._open, set()
        for one in broken:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                # Wakes the thread that reads; close() alone would not.
                one.shutdown(socket.SHUT_RD)
            one.close()

    def close(self) -> None:
        """Take no more connections, and end those that are there."""
        self._flowing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._flowing.wait()
        try:
            upstream = socket.create_connection(self._target, timeout=_CONNECT_SECONDS)
        except OSError:
            client.close()
            return
        upstream.settimeout(None)
        with self._lock:
            self._open |= {client, upstream}
        back = threading.Thread(target=self._pump, args=(upstream, client), daemon=True)
        back.start()
        self._pump(client, upstream)
        back.join()
        with self._lock:
            self._open -= {client, upstream}
        client.close()
        upstream.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Carries bytes one way until an end; then the other end hears of it."""
        with contextlib.suppress(OSError):
            while piece := source.recv(_CHUNK):
                self._flowing.wait()
                sink.sendall(piece)
        with self._lock, contextlib.suppress(OSError):
            # After a reset there is no orderly end any more.
            if sink in self._open:
                sink.shutdown(socket.SHUT_WR)
