"""Process 1 of the container: reaps whatever is left to it, passes signals on, outlives the rest.

The engine's shims and git's helpers outlive their parents and become children of process 1. A
Python that waits for its own children only would leave them as zombies for its whole life.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)

EX_SOFTWARE = 70
"""sysexits.h; also the exit code of an executor that failed by a defect of its own."""

REAP = 5.0
"""Seconds to wait for processes that were killed; one in a system call may take longer."""


def run(work: Callable[[], int], aftermath: Callable[[str], int]) -> int:
    """Run `work` in a child, reap everything, and return the child's exit code.

    When the child dies instead of ending, everything it started is killed first, and `aftermath`
    runs in another child, with a sentence that says how it died. To be called before there is a
    second thread.
    """
    child = _fork(work)

    def forward(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in FORWARDED:
        signal.signal(number, forward)
    status = _wait(child)
    how = _death(status)
    if how is not None:
        _kill_all()
        # `forward` sees the new child from here on.
        child = _fork(lambda: aftermath(how))
        _wait(child)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _fork(work: Callable[[], int]) -> int:
    child = os.fork()
    if child:
        return child
    code = EX_SOFTWARE
    try:
        for number in FORWARDED:
            signal.signal(number, signal.SIG_DFL)
        code = work()
    finally:
        # Threads that are stuck in a system call must not hold up the end.
        os._exit(code)


def _wait(child: int) -> int:
    """Reap until `child` has ended; its wait status."""
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return 0
        if pid == child:
            return status


def _death(status: int) -> str | None:
    """How the executor died; None for an end that it chose."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(number).name}"
        return f"was killed by signal {number}"
    return "failed by a defect" if os.WEXITSTATUS(status) == EX_SOFTWARE else None


def _kill_all() -> None:
    """Nothing that a dead executor started may go on, least of all a push."""
    if os.getpid() != 1:
        return  # -1 would be more than what is ours
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    deadline = time.monotonic() + REAP
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)
