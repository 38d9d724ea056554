"""One task: its thread, log, result file and workspace, from LAUNCH to the terminal update."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from builder_framework.errors import ProtocolError
from builder_framework.protocol import (
    BuildSpec,
    LeaseAnswer,
    Outcome,
    Reason,
    Report,
    decode_spec,
    encode_report,
    log_file_name,
    result_file_name,
)
from executor.cancel import CancelToken, Stop
from executor.engine import Engines
from executor.lease import LeaseDesk
from executor.log import FORMATTER, BuildLog
from executor.memory import watch_memory
from executor.pipeline import Pipeline
from executor.reporter import Reporter, Send
from executor.surroundings import AUTHORITIES, adopt
from executor.workspace import workspace

logger = logging.getLogger(__name__)


class Task:
    """A build with a thread of its own. `ended` is called once, in that thread, when all is over:
    the terminal update was handed over and the workspace is gone. `stuck`: it was given up, and its
    thread may go on for ever. Both hear the task's id. `ask` sends a message to the
    framework; it may raise as `LeaseDesk` expects.
    """

    def __init__(
        self,
        task_id: str,
        data: bytes,
        sandbox: Path,
        engines: Engines,
        send: Send,
        ask: Callable[[bytes], None],
        ended: Callable[[str], None],
        stuck: Callable[[str], None],
    ) -> None:
        self.task_id = task_id
        self._data = data
        self._sandbox = sandbox
        self._engines = engines
        self._ended = ended
        self._stuck = stuck
        self._token = CancelToken()
        self._log: BuildLog | None = None
        self._desk = LeaseDesk(task_id, ask)
        self._reporter = Reporter(task_id, send, self._before_end)
        self._thread = threading.Thread(target=self._run, name=f"task {task_id}", daemon=True)

    def start(self) -> None:
        """Begin to build."""
        self._thread.start()

    def refuse(self, why: str) -> None:
        """It is not begun here; another executor may take it."""
        self._reporter.end(
            Report(outcome=Outcome.FAILED, reason=Reason.LAUNCH_FAILED, message=why, transient=True)
        )

    def stop(self, why: Stop, grace: float, *, announce: bool = False) -> None:
        """Make it end within `grace` seconds; returns at once.

        `announce`: say TASK_KILLING. If the build does not end in time, its end is reported all
        the same: what is stuck dies with the container.
        """
        if not self._token.cancel(why, grace) or self._reporter.ended:
            return
        logger.info("stopping task %s (%s) within %.1f s", self.task_id, why.value, grace)
        if announce:
            self._reporter.killing()
        watchdog = threading.Timer(max(0.5, grace - 1.0), self._give_up)
        watchdog.daemon = True
        watchdog.start()

    def lease_answered(self, answer: LeaseAnswer) -> None:
        """The framework has answered whether this build may publish."""
        self._desk.answer(answer)

    def join(self, seconds: float) -> bool:
        """Wait for its end; False if it goes on."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            spec = self._spec()
            if spec is not None:
                self._build(spec)
        except Exception as error:
            logger.exception("task %s failed by a defect or its sandbox", self.task_id)
            self._reporter.end(_failed(Reason.EXECUTOR_ERROR, f"the executor failed: {error}"))
        finally:
            self._ended(self.task_id)

    def _spec(self) -> BuildSpec | None:
        try:
            spec = decode_spec(self._data)
        except ProtocolError as error:
            self._reporter.end(_failed(Reason.INVALID_SPEC, error.message))
            return None
        finally:
            self._data = b""  # it holds the credentials
        FORMATTER.protect(spec.secrets())
        adopt(spec.engine, AUTHORITIES)
        return spec

    def _build(self, spec: BuildSpec) -> None:
        self._log = log = BuildLog(self._sandbox / log_file_name(self.task_id), spec.secrets())
        with workspace() as space, watch_memory() as out_of_memory:
            try:
                report = Pipeline(
                    spec,
                    space,
                    log,
                    self._token,
                    self._engines,
                    self._reporter.progress,
                    self._desk,
                    out_of_memory=out_of_memory,
                ).run()
            finally:
                space.drop_secrets()
            self._reporter.end(report)

    def _give_up(self) -> None:
        if self._thread.is_alive() and self._reporter.end(
            Report(
                outcome=Outcome.KILLED,
                message="killed; it did not stop in time and ends with the executor",
            )
        ):
            logger.error("task %s did not stop in time", self.task_id)
            self._stuck(self.task_id)

    def _before_end(self, report: Report) -> None:
        """The result outlives the update's data, which reconciliation erases."""
        if self._log is not None:
            self._log.close()
        path = self._sandbox / result_file_name(self.task_id)
        try:
            write_atomically(path, encode_report(report))
        except OSError:
            logger.exception("could not write %s", path)


def write_atomically(path: Path, data: bytes) -> None:
    """All of `data` is at `path` after a crash, or nothing new."""
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _failed(reason: Reason, message: str) -> Report:
    return Report(outcome=Outcome.FAILED, reason=reason, message=message)
