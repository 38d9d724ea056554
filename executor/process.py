"""Child processes: argv lists, own session, bounded output, ended with all they started."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from executor.cancel import CancelToken

Output = Callable[[bytes], None]

CHUNK = 64 * 1024
TICK = 0.1
"""Seconds between looks at the token; output itself is delivered at once."""

DRAIN = 1.0
"""Seconds to read on after a child's end: a grandchild may hold the pipe for ever."""


@cache
def _leash() -> tuple[str, ...]:
    """A prefix that makes the kernel kill the child with the thread that started it.

    PR_SET_PDEATHSIG by util-linux' setpriv: a preexec_fn is not safe in a threaded process.
    """
    return ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()


def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """Start a child in a session, and so a process group, of its own, without a terminal.

    It dies with the calling *thread*: start long-lived children from long-lived threads.
    """
    return subprocess.Popen(
        [*_leash(), *argv],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=dict(env),
        start_new_session=True,
    )


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to the child and all that stayed in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def run(
    argv: Sequence[str],
    *,
    token: CancelToken,
    env: Mapping[str, str],
    output: Output,
    errors: Output | None = None,
    cwd: Path | None = None,
) -> int:
    """Run a child to its end and return its exit code (negative: the signal that ended it).

    `output` gets stdout, `errors` stderr (None: both go to `output`), as they come.
    Raises Stopped when the token is cancelled: by then the whole group is gone.
    """
    token.check()
    process = start(
        argv,
        env=env,
        cwd=cwd,
        stderr=subprocess.STDOUT if errors is None else subprocess.PIPE,
    )
    try:
        _pump(process, token, output, errors)
    finally:
        signal_group(process, signal.SIGKILL)
        reap(process)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    token.check()
    return process.returncode


def reap(process: subprocess.Popen[bytes]) -> int:
    """Wait for the child's end, kill what is left of its group, and return its exit code."""
    with contextlib.suppress(ChildProcessError):
        # Not reaped yet while the group is signalled, lest its number belongs to somebody else.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    signal_group(process, signal.SIGKILL)
    return process.wait()


def has_exited(process: subprocess.Popen[bytes]) -> bool:
    """Whether the child has ended, without reaping it."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _pump(
    process: subprocess.Popen[bytes], token: CancelToken, output: Output, errors: Output | None
) -> None:
    drain_until = kill_at = float("inf")
    with selectors.DefaultSelector() as selector:
        for pipe, sink in ((process.stdout, output), (process.stderr, errors)):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, sink)
        while True:
            if selector.get_map():
                for key, _ in selector.select(TICK):
                    chunk = os.read(key.fd, CHUNK)
                    if chunk:
                        key.data(chunk)
                    else:
                        selector.unregister(key.fileobj)
            else:
                time.sleep(TICK / 10)
            now = time.monotonic()
            if has_exited(process):
                drain_until = min(drain_until, now + DRAIN)
                if not selector.get_map() or now >= drain_until:
                    return
            elif token.why is not None:
                if kill_at == float("inf"):
                    signal_group(process, signal.SIGTERM)
                    kill_at = now + token.patience
                elif now >= kill_at:
                    signal_group(process, signal.SIGKILL)
