"""A ZooKeeper server of its own, for tests of what asks it who leads (Debian's jars, one JVM)."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from devcluster.daemon import Daemon, Service

JARS = Path("/usr/share/java")
#: What a standalone server loads; the rest of Debian's dependencies are for its web console.
CLASS_PATH = (
    "zookeeper",
    "zookeeper-jute",
    "slf4j-api",
    "slf4j-simple",
    "netty-all",
    "metrics-core",
    "snappy-java",
    "commons-io",
    "commons-cli",
)
#: Milliseconds. Sessions last between 2 and 20 ticks, so tests may ask for short ones.
TICK = 500
HEAP = "-Xmx64m"


class ZooKeeper(Service):
    """Keeps its data in `directory`; what was written survives a SIGKILL."""

    def __init__(self, directory: Path, *, host: str = "127.0.0.1", port: int = 2181) -> None:
        self._host = host
        self._port = port
        self._directory = directory
        jars = ":".join(str(JARS / f"{name}.jar") for name in CLASS_PATH)
        main = "org.apache.zookeeper.server.ZooKeeperServerMain"
        self.daemon = Daemon(
            name="zookeeper",
            argv=["java", HEAP, "-XX:+UseSerialGC", "-cp", jars, main, str(self._settings)],
            run_dir=directory / "run",
            log_path=directory / "zookeeper.log",
            is_ready=self.is_ready,
        )

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self._host}:{self._port}"

    @property
    def _settings(self) -> Path:
        return self._directory / "zoo.cfg"

    def spawn(self) -> None:
        """Starts the process; returns at once."""
        self._directory.mkdir(parents=True, exist_ok=True)
        settings = {
            "dataDir": self._directory / "data",
            "clientPort": self._port,
            "clientPortAddress": self._host,
            "tickTime": TICK,
            "admin.enableServer": "false",
        }
        lines = [f"{name}={value}\n" for name, value in settings.items()]
        self._settings.write_text("".join(lines))
        super().spawn()

    def is_ready(self) -> bool:
        """True when it serves requests."""
        return "Mode: standalone" in self._status()

    def connections(self) -> int:
        """How many clients are connected, the one that asks not counted."""
        for line in self._status().splitlines():
            name, _, value = line.partition(": ")
            if name == "Connections":
                return int(value) - 1
        return 0

    def _status(self) -> str:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((self._host, self._port), timeout=2) as connection,
        ):
            connection.sendall(b"srvr")
            pieces = iter(lambda: connection.recv(4096), b"")
            return b"".join(pieces).decode()
        return ""
