"""Process 1 of the container: reaps whatever is left to it and passes signals on.

The engine's shims and git's helpers outlive their parents and become children of process 1. A
Python that waits for its own children only would leave them as zombies for its whole life.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def run(work: Callable[[], int]) -> int:
    """Run `work` in a child, reap everything, and return the child's exit code.

    To be called before there is a second thread.
    """
    child = os.fork()
    if child == 0:
        code = 70  # EX_SOFTWARE, should `work` raise
        try:
            code = work()
        finally:
            # Threads that are stuck in a system call must not hold up the end.
            os._exit(code)

    def forward(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in FORWARDED:
        signal.signal(number, forward)
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return 0
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
