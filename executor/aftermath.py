"""What is left to say when the executor's process has died: process 1 starts this in its place.

Mesos would say "executor terminated" for every build, whatever became of it. Here a build that had
ended gets the end it had, though the agent was away when it came, and one that had not ends with
what happened. By then nothing of the executor runs any more (`executor.init`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from base64 import b64decode
from pathlib import Path

from pymesos import Executor

from builder_framework.errors import ProtocolError
from builder_framework.protocol import (
    Outcome,
    Phase,
    Reason,
    Report,
    decode_report,
    encode_report,
    log_file_name,
    result_file_name,
)
from executor.agent import ACK_WAIT, Settings
from executor.checkpoint import make_recoverable
from executor.driver import ExecutorDriver
from executor.log import setup_logging
from executor.outbox import FILE_NAME, Outbox
from executor.reporter import Reporter
from executor.task import write_atomically

logger = logging.getLogger(__name__)

OOM_COUNTERS = (
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
)
"""Where the kernel counts the container's processes that it killed for want of memory (v2, v1)."""

TICK = 0.2
"""Seconds between looks at whether that came, or the agent is gone for good."""


def main(token: str | None, how: str) -> int:
    """Deliver every update that is left. `how`: the executor's end, such as `was killed by …`."""
    setup_logging()
    sandbox = Settings.from_environment().sandbox
    outbox = Outbox(sandbox / FILE_NAME)
    logger.error("the executor's process %s", how)
    report_unfinished(outbox, sandbox, how)
    return 0 if not outbox or _deliver(outbox, token) else 1


def report_unfinished(outbox: Outbox, sandbox: Path, how: str) -> None:
    """Put the end of every task that has none into the outbox, its result and its log."""
    for task_id, data in outbox.unfinished.items():
        result = sandbox / result_file_name(task_id)
        report = _result(result)
        if report is None:
            report = verdict(how, _phase(data), OOM_COUNTERS)
            with contextlib.suppress(OSError), (sandbox / log_file_name(task_id)).open("a") as log:
                log.write(f"{report.message}\n")
            with contextlib.suppress(OSError):
                write_atomically(result, encode_report(report))
        Reporter(task_id, outbox.add).end(report)


def verdict(how: str, phase: Phase, counters: tuple[Path, ...]) -> Report:
    """The end of a build whose executor died; another attempt may succeed if memory sufficed."""
    no_memory = "SIGKILL" in how and out_of_memory(counters)
    why = ": the container ran out of memory" if no_memory else ""
    return Report(
        phase=phase,
        outcome=Outcome.FAILED,
        reason=Reason.OUT_OF_MEMORY if no_memory else Reason.EXECUTOR_LOST,
        message=f"the executor {how} while {phase.value}{why}",
        transient=not no_memory,
    )


def out_of_memory(counters: tuple[Path, ...]) -> bool:
    """Whether the kernel has killed a process of this container for want of memory."""
    for path in counters:
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill" and int(value):
                    return True
    return False


def _phase(data: str | None) -> Phase:
    """What the task was doing, from the `data` of its last update."""
    with contextlib.suppress(ProtocolError, ValueError):
        if data is not None:
            return decode_report(b64decode(data)).phase or Phase.STARTING
    return Phase.STARTING


def _result(path: Path) -> Report | None:
    """What the executor wrote down before it died; None when it did not come so far."""
    try:
        report = decode_report(path.read_bytes())
    except (OSError, ProtocolError):
        return None
    return report if report.outcome is not None else None


class _Nobody(Executor):  # type: ignore[misc]
    """Hears what the agent says, when there is nothing left that could be told to do anything."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def kill(self, task_id: str, grace: float | None) -> None:
        """It has ended; the agent is about to hear it."""

    def framework_message(self, data: bytes) -> None:
        """Nobody waits for it."""

    def stop_all(self) -> None:
        """The agent ends this container after its grace period by itself."""

    def driver_ended(self, why: str) -> None:
        """The agent will not come back."""
        if why != "stopped":
            logger.error("updates are left that nobody takes: %s", why)
        self.ended.set()


def _deliver(outbox: Outbox, token: str | None) -> bool:
    """True when the agent has acknowledged everything; waits for one that restarts."""
    nobody = _Nobody()
    driver = ExecutorDriver(nobody, nobody, token, outbox)
    make_recoverable(os.environ)
    driver.start()
    waited = 0.0
    while waited < ACK_WAIT and not nobody.ended.is_set() and not driver.wait_drained(TICK):
        waited += TICK if driver.connected else 0.0
    driver.stop()
    return not outbox
