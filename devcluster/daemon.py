"""Processes that outlive us: started detached, known by pid *and* start time, ended by those only.

A pid alone may name somebody else's process by the time it is used; a pid with the start time
that the kernel gives it (``/proc/PID/stat``, field 22, clock ticks since boot) names one process
for ever.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devcluster.errors import ClusterError

#: How often readiness is looked at; short, as the whole start is a chain of such waits.
POLL_SECONDS = 0.05
#: How long a process may take to end after SIGTERM before it gets SIGKILL.
GRACE_SECONDS = 15.0


def start_time(pid: int) -> int | None:
    """The process's start time in clock ticks, or None when there is no such (living) process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the program's name in parentheses, and may itself hold ") ".
    state, *rest = text.rpartition(") ")[2].split()
    return None if state in "ZX" else int(rest[18])


def has_stopped(pid: int) -> bool:
    """Whether no thread of the process runs: all are stopped by a signal, or gone."""
    states = set()
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            states.add(stat.read_text().rpartition(") ")[2][0])
    return states <= set("TtZX")


def wait_until(ready: Callable[[], bool], seconds: float, failure: Callable[[], str] | str) -> None:
    """Returns as soon as `ready()`; raises ClusterError with `failure` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise ClusterError(failure if isinstance(failure, str) else failure())
        time.sleep(POLL_SECONDS)


@dataclass
class Daemon:
    """One background process of the cluster: its command, its log and its recorded identity."""

    name: str
    argv: Sequence[str]
    run_dir: Path
    log_path: Path
    env: Mapping[str, str] = field(default_factory=dict)
    #: True when the process answers; asked again and again while it starts.
    is_ready: Callable[[], bool] = lambda: True

    @property
    def _record(self) -> Path:
        return self.run_dir / f"{self.name}.pid.json"

    @property
    def pid(self) -> int | None:
        """The pid of the running process, or None when it is not running."""
        try:
            kept = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return None
        pid = int(kept["pid"])
        return pid if start_time(pid) == kept["start_time"] else None

    def spawn(self) -> None:
        """Starts the process unless it runs; returns at once."""
        if self.pid is not None:
            return
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                list(self.argv),
                env={**os.environ, **self.env},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _children[process.pid] = process
        part = self._record.with_suffix(".part")
        part.write_text(json.dumps({"pid": process.pid, "start_time": start_time(process.pid)}))
        part.replace(self._record)

    def wait_ready(self, seconds: float = 30.0) -> None:
        """Waits until the process answers; one sentence with its last words when it does not."""
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            if self.pid is None:
                raise ClusterError(f"{self.name} ended while it started: {self.last_words()}")
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{self.name} did not answer within {seconds:.0f} s; its log is {self.log_path}"
                )
            time.sleep(POLL_SECONDS)

    def start(self) -> None:
        """Starts the process unless it runs, and waits until it answers."""
        self.spawn()
        self.wait_ready()

    def last_words(self) -> str:
        """The last line of the log, for error sentences."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, self.log_path.stat().st_size - 4096))
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return f"{lines[-1] if lines else 'nothing in its log'} (log: {self.log_path})"

    def signal(self, number: signal.Signals) -> bool:
        """Sends a signal to the recorded process; False when it does not run."""
        pid = self.pid
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, and waits until the process is gone (a crash, for tests)."""
        self.signal(signal.SIGKILL)
        # Also when it ended by itself: then its exit status is taken here.
        wait_until(self._is_gone, GRACE_SECONDS, f"{self.name} survived SIGKILL")
        self._record.unlink(missing_ok=True)

    def stop(self, grace: float = GRACE_SECONDS) -> None:
        """SIGTERM, and SIGKILL when the process is still there after `grace` seconds."""
        if self.signal(signal.SIGTERM):
            self.resume()  # a stopped process would not see SIGTERM
            deadline = time.monotonic() + grace
            while not self._is_gone() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        self.kill()

    def pause(self) -> None:
        """SIGSTOP: the process keeps its connections and answers nothing."""
        pid = self.pid
        self.signal(signal.SIGSTOP)
        if pid is not None:
            # Threads on another core still run for a moment, and may answer.
            wait_until(lambda: has_stopped(pid), GRACE_SECONDS, f"{self.name} does not stop")

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        self.signal(signal.SIGCONT)

    def _is_gone(self) -> bool:
        return self.pid is None and _has_been_reaped(self._recorded_pid())

    def _recorded_pid(self) -> int | None:
        try:
            return int(json.loads(self._record.read_text())["pid"])
        except (OSError, ValueError):
            return None


def _has_been_reaped(pid: int | None) -> bool:
    """Takes the exit status of a child of ours: a zombie would still have its pid."""
    process = None if pid is None else _children.get(pid)
    if process is None:
        return True
    if process.poll() is None:
        return False
    _children.pop(process.pid, None)
    return True


#: Processes that this interpreter started; kept so that Popen neither warns nor leaves zombies.
_children: dict[int, subprocess.Popen[bytes]] = {}


class Service:
    """A part of the cluster that is one daemon: what tests and `up` do to it."""

    daemon: Daemon

    @property
    def log_path(self) -> Path:
        return self.daemon.log_path

    def spawn(self) -> None:
        """Starts the process; returns at once."""
        self.daemon.spawn()

    def start(self) -> None:
        """Starts the process unless it runs, and waits until it answers."""
        self.spawn()
        self.wait_ready()

    def wait_ready(self, seconds: float = 30.0) -> None:
        self.daemon.wait_ready(seconds)

    def kill(self) -> None:
        """SIGKILL: what is under way breaks off."""
        self.daemon.kill()

    def stop(self) -> None:
        """SIGTERM."""
        self.daemon.stop()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        self.daemon.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self.daemon.resume()
