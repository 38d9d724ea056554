"""One task's status updates: any number while it runs, exactly one at its end, none after."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from builder_framework.protocol import Outcome, Phase, Report, encode_report

Send = Callable[[Mapping[str, object]], None]
"""Takes a TaskStatus as plain JSON types (its `data` in base64). Must not block for long."""

MAX_MESSAGE = 4096
"""Characters of a message; the whole story is in the log. See protocol.MAX_REPORT_BYTES."""

_TERMINAL = {
    Outcome.SUCCEEDED: "TASK_FINISHED",
    Outcome.FAILED: "TASK_FAILED",
    Outcome.KILLED: "TASK_KILLED",
}


def shorten(text: str, limit: int = MAX_MESSAGE) -> str:
    """The end of a long text: that is where errors stand."""
    return text if len(text) <= limit else "… " + text[2 - limit :]


class Reporter:
    """Says what a task does. `before_end` runs once, before the terminal update is sent."""

    def __init__(
        self, task_id: str, send: Send, before_end: Callable[[Report], None] | None = None
    ) -> None:
        self._task_id = task_id
        self._send = send
        self._before_end = before_end
        self._lock = threading.RLock()
        self._ended = False
        self._phase = Phase.STARTING

    @property
    def ended(self) -> bool:
        """Whether the terminal update was handed over."""
        return self._ended

    def progress(self, report: Report) -> None:
        """The task runs and does what `report` says."""
        with self._lock:
            if not self._ended:
                self._phase = report.phase or self._phase
                self._update("TASK_RUNNING", report)

    def killing(self) -> None:
        """The task was told to stop; only for frameworks that know TASK_KILLING."""
        with self._lock:
            if not self._ended:
                self._update("TASK_KILLING", Report(phase=self._phase))

    def end(self, report: Report) -> bool:
        """The task has ended. False, and nothing is sent, if that was said before."""
        outcome = report.outcome
        if outcome is None:
            raise ValueError("the last report needs an outcome")
        with self._lock:
            if self._ended:
                return False
            self._ended = True
            message = shorten(report.message or "") or None
            report = replace(report, message=message, phase=report.phase or self._phase)
            try:
                if self._before_end is not None:
                    self._before_end(report)
            finally:
                self._update(_TERMINAL[outcome], report)
            return True

    def _update(self, state: str, report: Report) -> None:
        status: dict[str, object] = {
            "task_id": {"value": self._task_id},
            "state": state,
            "data": base64.b64encode(encode_report(report)).decode(),
            "timestamp": time.time(),
        }
        if report.message:
            status["message"] = report.message
        self._send(status)
