"""Build logs that outlive executor and agent, filled while it runs: files, or rows."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Protocol

from builder_framework.domain.model import is_build_id
from builder_framework.errors import StoreUnavailableError


class Logs(Protocol):
    """Append-only logs by build id. Every call may raise StoreUnavailableError."""

    def size(self, build_id: str) -> int:
        """Bytes stored so far."""
        ...

    def append(self, build_id: str, data: bytes) -> None:
        """All of it or nothing, and later than what was appended before."""
        ...

    def read(self, build_id: str, offset: int, limit: int) -> bytes:
        """At most `limit` bytes from `offset`; empty at and after the end."""
        ...

    def remove(self, build_id: str) -> None:
        """Forget a log that is a file; rows go with the transaction that wants them gone."""
        ...


class LogStore:
    """`Logs` as one file per build, beside a database that is a file, too."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def _path(self, build_id: str) -> Path:
        if not is_build_id(build_id):
            raise ValueError(f"not a build id: {build_id!r}")
        # Few entries per directory, however long the history.
        return self._directory / build_id[:2] / f"{build_id}.log"

    def size(self, build_id: str) -> int:
        """Bytes stored so far."""
        try:
            return self._path(build_id).stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, build_id: str, data: bytes) -> None:
        """Raises StoreUnavailableError when the disk does not take it; nothing partial stays."""
        path = self._path(build_id)
        before = self.size(build_id)
        try:
            path.parent.mkdir(exist_ok=True)
            with path.open("ab") as file:
                file.write(data)
        except OSError as error:
            if path.exists():
                with path.open("r+b") as file:
                    file.truncate(before)
            raise StoreUnavailableError(f"the log cannot be written: {error.strerror}") from error

    def read(self, build_id: str, offset: int, limit: int) -> bytes:
        """At most `limit` bytes from `offset`; empty at and after the end."""
        try:
            with self._path(build_id).open("rb") as file:
                file.seek(offset)
                return file.read(limit)
        except FileNotFoundError:
            return b""

    def remove(self, build_id: str) -> None:
        """Raises StoreUnavailableError; does nothing for one that is gone."""
        try:
            self._path(build_id).unlink(missing_ok=True)
        except OSError as error:
            raise StoreUnavailableError(f"a log cannot be removed: {error.strerror}") from error


class BuildWatch:
    """See `ports.Watch`."""

    def __init__(self, bell: Bell, build_id: str) -> None:
        self._bell = bell
        self._build_id = build_id
        self._rung = threading.Event()

    def ring(self) -> None:
        """Something changed."""
        self._rung.set()

    def wait(self, timeout: float) -> bool:
        """Whether something changed since the last call, waiting up to `timeout` seconds."""
        rung = self._rung.wait(timeout)
        self._rung.clear()
        return rung

    def __enter__(self) -> BuildWatch:  # noqa: PYI034 (Self needs Python 3.11)
        self._bell.add(self._build_id, self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bell.remove(self._build_id, self)


class Bell:
    """Wakes those who follow a build."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: dict[str, set[BuildWatch]] = {}

    def watch(self, build_id: str) -> BuildWatch:
        """A watch that is active inside `with`."""
        return BuildWatch(self, build_id)

    def add(self, build_id: str, watch: BuildWatch) -> None:
        """Begin to wake `watch`."""
        self.ring(build_id)  # who collects the build's log sees that it is looked at now
        with self._lock:
            self._watches.setdefault(build_id, set()).add(watch)

    def remove(self, build_id: str, watch: BuildWatch) -> None:
        """Forget `watch`."""
        with self._lock:
            watches = self._watches.get(build_id, set())
            watches.discard(watch)
            if not watches:
                self._watches.pop(build_id, None)

    def watches(self, build_id: str) -> int:
        """How many follow the build now."""
        with self._lock:
            return len(self._watches.get(build_id, ()))

    def ring(self, build_id: str) -> None:
        """The build or its log changed."""
        with self._lock:
            watches = tuple(self._watches.get(build_id, ()))
        for watch in watches:
            watch.ring()
