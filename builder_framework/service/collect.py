"""Follows logs while builds run, and fetches results that a status update could not bring."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from builder_framework import failpoints, logfields
from builder_framework.cluster import Sandboxes
from builder_framework.domain import events as ev
from builder_framework.domain.changes import is_current
from builder_framework.domain.model import Attempt, Build
from builder_framework.errors import (
    BuilderError,
    ProtocolError,
    SandboxError,
    StoreUnavailableError,
)
from builder_framework.instruments import Instruments
from builder_framework.mesos.status import from_report
from builder_framework.ports import Watch
from builder_framework.protocol import (
    Reason,
    Report,
    decode_report,
    log_file_name,
    result_file_name,
)
from builder_framework.service.logs import Bell, Logs

log = logging.getLogger(__name__)

_POLL = 0.4
# Of a log that says nothing new and that nobody looks at: a hundred builds cost the agents little.
_IDLE_POLL = 3.0
_POLL_AFTER_ERROR = 2.0
# An agent that restarts is back within this time; one that does not has lost its files.
_PATIENCE = 60.0
# The log of the attempt that follows is worth more.
_PATIENCE_IF_REPEATED = 5.0
_RESULT_PATIENCE = 20.0

Apply = Callable[[str, ev.Event], Build | None]
"""Feeds an event to the serial loop and waits: the build after it, None when not stored."""

Get = Callable[[str], Build]


class LogCollector:
    """One follower per build that has a task."""

    def __init__(
        self,
        sandboxes: Sandboxes,
        logs: Logs,
        bell: Bell,
        get: Get,
        apply: Apply,
        instruments: Instruments | None = None,
    ) -> None:
        self._sandboxes = sandboxes
        self._logs = logs
        self._bell = bell
        self._get = get
        self._apply = apply
        self._lock = threading.Lock()
        self._instruments = instruments or Instruments()
        # When each log was read to its end last; monotonic.
        self._following: dict[str, float] = {}
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Followers end at their next step; what they have is stored."""
        self._stopping.set()

    def follow(self, build_id: str) -> None:
        """Collect the build's log until it is over; does nothing when it is followed already."""
        with self._lock:
            if build_id in self._following:
                return
            self._following[build_id] = time.monotonic()
        threading.Thread(
            target=self._follow, args=(build_id,), name=f"log {build_id}", daemon=True
        ).start()

    def behind(self) -> list[float]:
        """For each log that is followed: seconds since it was read to its end."""
        now = time.monotonic()
        with self._lock:
            return [now - since for since in self._following.values()]

    def _caught_up(self, build_id: str) -> None:
        with self._lock:
            self._following[build_id] = time.monotonic()

    def _follow(self, build_id: str) -> None:
        logfields.begin(build_id=build_id)
        try:
            while not self._stopping.is_set():
                try:
                    if self._follow_build(build_id):
                        return
                except StoreUnavailableError as error:  # noqa: PERF203 (it waits anyway)
                    log.warning("log of build %s has to wait: %s", build_id, error)
                    self._stopping.wait(_POLL_AFTER_ERROR)
        except Exception:
            log.exception("the log of build %s is not followed any more", build_id)
        finally:
            with self._lock:
                self._following.pop(build_id, None)

    def _follow_build(self, build_id: str) -> bool:
        """Collect the logs of all attempts, one after the other. Whether that is done."""
        copied = 0
        with self._bell.watch(build_id) as watch:
            while not self._stopping.is_set():
                build = self._get(build_id)
                attempt = _next_log(build, copied)
                if attempt is not None:
                    if self._copy_all(build, attempt, watch):
                        copied = attempt.number
                elif build.terminal:
                    self._apply(build_id, ev.LogCompleted())
                    return True
                else:
                    self._caught_up(build_id)
                    watch.wait(_IDLE_POLL)
        return False

    def _rest(self, build_id: str, watch: Watch) -> None:
        """Wait for the build's next change; not long when somebody looks at it."""
        watched = self._bell.watches(build_id) > 1
        watch.wait(_POLL if watched else _IDLE_POLL)

    def _copy_all(self, build: Build, attempt: Attempt, watch: Watch) -> bool:
        """Copy an attempt's log to its end, while it grows. False: it could not begin yet."""
        base = self._base(build, attempt)
        if base is None:
            return False
        heard = time.monotonic()
        while not self._stopping.is_set():
            # Asked before reading: what is read after the end was seen is the rest.
            now = self._get(build.id)
            over = _ended(now, attempt.number)
            try:
                more = self._copy(build.id, attempt, base)
                heard = time.monotonic()
            except SandboxError as error:
                newest = is_current(now, attempt.number)
                patience = _PATIENCE if newest else _PATIENCE_IF_REPEATED
                if over and (not error.recoverable or time.monotonic() - heard > patience):
                    log.info("log of task %s ends here: %s", attempt.task_id, error)
                    return True
                if error.recoverable:
                    self._stopping.wait(_POLL_AFTER_ERROR)
                else:
                    self._rest(build.id, watch)
                continue
            if over and not more:
                return True
            if not more:
                self._rest(build.id, watch)
        return False

    def _base(self, build: Build, attempt: Attempt) -> int | None:
        """Where the attempt's log begins in the build's; stored before its first byte."""
        if attempt.log_offset is not None:
            return attempt.log_offset
        if attempt.number > 1:
            self._announce(build.id, attempt)
        offset = self._logs.size(build.id)
        changed = self._apply(build.id, ev.LogStarted(attempt.number, offset))
        attempts = changed.attempts if changed else ()
        return next((a.log_offset for a in attempts if a.number == attempt.number), None)

    def _announce(self, build_id: str, attempt: Attempt) -> None:
        """A line between the logs of two attempts, once: a restart may come just after it."""
        line = f"\n== Attempt {attempt.number} on {attempt.placement.hostname}\n".encode()
        size = self._logs.size(build_id)
        if self._logs.read(build_id, max(0, size - len(line)), len(line)) != line:
            self._logs.append(build_id, line)

    def _copy(self, build_id: str, attempt: Attempt, base: int) -> bool:
        """Copy the next piece. Whether there may be more right now."""
        offset = self._logs.size(build_id) - base
        piece = self._sandboxes.read(attempt, log_file_name(attempt.task_id), offset)
        if not piece:
            self._caught_up(build_id)
        else:
            failpoints.reach("T20.before")
            self._logs.append(build_id, piece)
            failpoints.reach("T20.after")
            self._instruments.log_bytes.inc(len(piece))
            self._bell.ring(build_id)
        return bool(piece)


def _next_log(build: Build, copied: int) -> Attempt | None:
    """The attempt whose log is to be copied now, after those up to number `copied`.

    After a restart that is the last one of which a part was stored; those before it are complete.
    """
    begun = max((a.number for a in build.attempts if a.log_offset is not None), default=0)
    for attempt in build.attempts:
        started = attempt.running_at is not None or not attempt.live
        if attempt.number > copied and attempt.number >= begun and started:
            return attempt
    return None


def _ended(build: Build, number: int) -> bool:
    """Whether an attempt says nothing more."""
    return any(a.number == number and not a.live for a in build.attempts)


class ResultFetcher:
    """Reads the executor's last report from the sandbox."""

    def __init__(self, sandboxes: Sandboxes, apply: Apply) -> None:
        self._sandboxes = sandboxes
        self._apply = apply
        self._lock = threading.Lock()
        self._fetching: set[str] = set()

    def fetch(self, build_id: str, attempt: Attempt) -> None:
        """Feed the result to the loop, or that it is lost; the agent's own news may be faster."""
        with self._lock:
            if attempt.task_id in self._fetching:
                return
            self._fetching.add(attempt.task_id)
        threading.Thread(
            target=self._run, args=(build_id, attempt), name=f"result {build_id}", daemon=True
        ).start()

    def _run(self, build_id: str, attempt: Attempt) -> None:
        logfields.begin(build_id=build_id)
        try:
            self._apply(build_id, self._event(attempt))
        except BuilderError as error:
            log.warning("result of task %s was not stored: %s", attempt.task_id, error)
        finally:
            with self._lock:
                self._fetching.discard(attempt.task_id)

    def _event(self, attempt: Attempt) -> ev.Event:
        deadline = time.monotonic() + _RESULT_PATIENCE
        while True:
            try:
                return from_report(attempt.number, self._read(attempt))
            except (SandboxError, ProtocolError) as error:
                if time.monotonic() > deadline:
                    message = (
                        f"the task ended while nobody listened, and its result is gone: {error}"
                    )
                    return ev.TaskLost(attempt.number, Reason.RESULT_LOST, message)
            time.sleep(1.0)

    def _read(self, attempt: Attempt) -> Report:
        name = result_file_name(attempt.task_id)
        data = b""
        while piece := self._sandboxes.read(attempt, name, len(data)):
            data += piece
        return decode_report(data)
