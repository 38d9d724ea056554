"""Tells whether the kernel killed a process of this container because its memory was used up."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def watch_memory(root: Path = CGROUPS) -> Iterator[Callable[[], bool]]:
    """Asks whether it has happened since the block began; False where the kernel does not tell.

    Containers within this one, such as a build's steps, count.
    """
    with contextlib.ExitStack() as stack:
        asks = _events(root) if (root / "memory.events").exists() else _notices(root, stack)
        yield asks or (lambda: False)


def _events(root: Path) -> Callable[[], bool]:
    """Version 2 counts kills in the whole subtree (cgroup-v2.rst, memory.events)."""

    def kills() -> int:
        with contextlib.suppress(OSError, ValueError):
            for line in (root / "memory.events").read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
        return 0

    before = kills()
    return lambda: kills() > before


def _notices(root: Path, stack: contextlib.ExitStack) -> Callable[[], bool] | None:
    """Version 1 counts a kill where the victim was, and forgets it with that group; but it signals
    an eventfd of every group above (cgroup-v1/memory.rst, OOM Control). None: it cannot be had.
    """
    directory = root / "memory"
    with contextlib.suppress(OSError):
        handle = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        stack.callback(os.close, handle)
        control = stack.enter_context((directory / "memory.oom_control").open())
        (directory / "cgroup.event_control").write_text(f"{handle} {control.fileno()}")
        happened = False

        def asks() -> bool:
            nonlocal happened
            with contextlib.suppress(BlockingIOError):
                happened = os.eventfd_read(handle) > 0 or happened
            return happened

        return asks
    return None
