"""A PostgreSQL server of our own: Debian's programs, an unprivileged user, a directory, a port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from devcluster.daemon import GRACE_SECONDS, Daemon, Service, wait_until
from devcluster.errors import ClusterError

#: PostgreSQL refuses to run as root; Debian's packages bring this user.
USER = "postgres"
PROGRAMS = Path("/usr/lib/postgresql")
#: Durability costs seconds and is not what tests of ours are about: they kill processes, not power.
SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "60"}


def programs() -> Path | None:
    """Directory of the newest server's programs; None where no server is installed."""
    found = [path.parent for path in PROGRAMS.glob("*/bin/postgres")]
    return max(found, key=lambda path: int(path.parent.name), default=None)


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
    return port


class Postgres(Service):
    """One server with its data in `directory`. USER must be able to enter that and its parents.

    Whoever connects from this machine is let in: it listens on one address of ours only.
    """

    def __init__(self, directory: Path, port: int, address: str = "127.0.0.1") -> None:
        binaries = programs()
        if binaries is None:
            raise ClusterError("PostgreSQL is not installed; `make bootstrap` installs it")
        self._binaries = binaries
        self._directory = directory
        self._data = directory / "data"
        self.address = address
        self.port = port
        settings = {
            **SETTINGS,
            "listen_addresses": address,
            "port": str(port),
            "unix_socket_directories": "",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        server = [str(binaries / "postgres"), "-D", str(self._data), *words]
        self.daemon = Daemon(
            name="postgres",
            argv=[*_as_user(), *server],
            run_dir=directory,
            log_path=directory / "postgres.log",
            is_ready=self._answers,
        )

    def url(self, database: str) -> str:
        """What SQLAlchemy and psycopg connect with."""
        return f"postgresql://{USER}@{self.address}:{self.port}/{database}"

    def spawn(self) -> None:
        """Starts the process, with a new, empty data directory the first time; returns at once."""
        if not self._data.exists():
            self._initialise()
        self.daemon.spawn()

    def create_database(self, name: str) -> str:
        """Makes a database and returns its URL."""
        self.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Deletes a database and ends whoever is connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, statement: str) -> str:
        """Runs a statement with administrator's rights; what psql printed."""
        words = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", statement]
        done = subprocess.run(
            [str(self._binaries / "psql"), *words, self.url("postgres")],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ClusterError(f"psql failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def stop(self) -> None:
        """SIGINT, "fast shutdown": sessions are ended, everything is written (SIGTERM waits)."""
        self.resume()
        if self.daemon.signal(signal.SIGINT):
            wait_until(lambda: self.daemon.pid is None, GRACE_SECONDS, "postgres does not stop")
        self.daemon.kill()

    def kill(self) -> None:
        """SIGKILL for all of its processes: what is under way breaks off."""
        processes = list(self._processes())
        self.daemon.kill()
        for pid in processes:
            _signal(pid, signal.SIGKILL)
        wait_until(
            lambda: not any(_is_postgres(pid) for pid in processes),
            GRACE_SECONDS,
            "postgres survived SIGKILL",
        )

    def pause(self) -> None:
        """SIGSTOP for all of its processes: connections stay open, nothing is answered."""
        # The first one first, so that no further ones come.
        for pid in self._processes():
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        for pid in self._processes():
            _signal(pid, signal.SIGCONT)

    def _initialise(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        shutil.chown(self._directory, USER)
        made = self._directory / "data.part"
        shutil.rmtree(made, ignore_errors=True)
        initdb = [str(self._binaries / "initdb"), "--pgdata", str(made), "--auth=trust"]
        options = ["--no-sync", "--encoding=UTF8", "--locale=C", f"--username={USER}"]
        done = subprocess.run(
            [*_as_user(), *initdb, *options], cwd="/", capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ClusterError(f"initdb failed: {done.stderr.strip()}")
        made.rename(self._data)

    def _answers(self) -> bool:
        ready = [str(self._binaries / "pg_isready"), "--quiet", "--timeout=2"]
        where = [f"--host={self.address}", f"--port={self.port}"]
        return subprocess.run([*ready, *where], check=False).returncode == 0

    def _processes(self) -> Iterator[int]:
        """The first process, then one for each connection and background task."""
        first = self.daemon.pid
        if first is None:
            return
        yield first
        children = Path(f"/proc/{first}/task/{first}/children")
        yield from map(int, children.read_text().split())


def _as_user() -> list[str]:
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        raise ClusterError(
            f"there is no user {USER}; Debian's postgresql-common makes it"
        ) from None
    ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return ["setpriv", *ids, "--"]


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _is_postgres(pid: int) -> bool:
    """Whether the process is there and no zombie; a pid given to another program does not count."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name == "postgres"
    except OSError:
        return False
