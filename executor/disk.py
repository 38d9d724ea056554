"""Ends a build that is about to fill the agent's disk, or that wrote more than it asked for.

Engines of several executors share the disk of the cache volume. When it is nearly full, each says
beside its data root what it wrote since the oldest of its builds began; the one that wrote most
ends its youngest build. Within an engine nobody can tell whose step wrote what: the youngest has
the least to lose, and where it was another one, that one is next.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from builder_framework.protocol import Reason
from executor.cancel import CancelToken, Stop
from executor.failure import BuildFailure

logger = logging.getLogger(__name__)

SHARE = 0.05
"""Of a small disk, instead of the floor in MiB."""

SETTLE = 5.0
"""Seconds that an engine has to give back what an ended build wrote, before another one ends."""

WORTH = 16 << 20
"""Bytes. Who wrote less did not fill the disk, and his end would not help."""

GRACE = 5.0
"""Seconds that an ended build has to stop."""

_FRESH = 2 * SETTLE
"""Seconds for which what an engine said holds, so that its builds' end has its effect first."""

_TICK = 0.5
_EASE = 10
"""Looking at all files takes at most one part in so many of the time."""

_CLOCK = 0.05
"""Seconds by which the times of files may be behind."""

_BLOCK = 512
"""Bytes; of `st_blocks` (stat(2))."""


@dataclass
class WatchedBuild:
    """`limit`: bytes that it may write, 0 for any number. `failure`: why it was ended, if so."""

    token: CancelToken
    workspace: Path
    limit: int = 0
    began: float = field(default_factory=time.time)
    failure: BuildFailure | None = None

    def end(self, failure: BuildFailure) -> None:
        """Once. Nobody is overruled who stopped it before."""
        if self.failure is None and self.token.why is None:
            logger.warning("a build ends: %s", failure.message)
            self.failure = failure
            self.token.cancel(Stop.DISK, GRACE)


class Watched(Protocol):
    """What the watch asks of an engine."""

    @property
    def data_root(self) -> Path | None:
        """Where it writes, once it may; None for one that is not ours."""
        ...

    def tidy(self) -> None:
        """Free what it need not keep."""
        ...


def floor_of(total: int, most_mb: int) -> int:
    """Bytes that shall stay free on a disk of `total` bytes."""
    return min(most_mb << 20, int(total * SHARE))


def written_since(root: Path, since: float) -> int:
    """Bytes on the disk of the files beneath `root` that changed since then (seconds since 1970).

    By their ctime, which nobody can set. Other file systems that are mounted there, as a step's
    root is, show what is counted already.
    """
    found, seen = 0, set[int]()
    try:
        device = root.lstat().st_dev
    except OSError:
        return 0
    folders = [root]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    told = entry.stat(follow_symlinks=False)
                    if told.st_dev != device:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    elif told.st_ctime >= since - _CLOCK and told.st_ino not in seen:
                        if told.st_nlink > 1:
                            seen.add(told.st_ino)
                        found += told.st_blocks * _BLOCK
    return found


def say(folder: Path, written: int) -> None:
    """Tell the other engines of this disk how much the one in `folder` wrote."""
    with contextlib.suppress(OSError):
        (folder / "written").write_text(str(written))


def wrote_most(folder: Path, root: Path, now: float) -> bool:
    """Whether no engine of this disk said lately that it wrote more than the one in `folder`."""
    said = {}
    for path in root.glob("*/engines/*/written"):
        with contextlib.suppress(OSError, ValueError):
            if path.parent == folder or path.stat().st_mtime > now - _FRESH:
                said[path.parent] = (int(path.read_text()), str(path))
    return folder in said and said[folder] == max(said.values())


class DiskWatch:
    """Of one executor; its thread runs while there are builds. `floor_mb`: MiB, 0 for none."""

    def __init__(
        self,
        tick: float = _TICK,
        usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage,
    ) -> None:
        self._tick = tick
        self._usage = usage
        self._changed = threading.Condition()
        self._builds: list[WatchedBuild] = []
        self._engine: Watched | None = None
        self._floor_mb = 0
        self._thread: threading.Thread | None = None
        self._ended: WatchedBuild | None = None
        self._settled_at = 0.0
        self._next_count = 0.0

    @contextlib.contextmanager
    def watching(self, build: WatchedBuild, engine: Watched, floor_mb: int) -> Iterator[None]:
        """End this build, within the block, when its time has come."""
        with self._changed:
            self._engine, self._floor_mb = engine, floor_mb
            self._builds.append(build)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._builds.remove(build)
                self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._builds:
                    self._thread = None
                    return
                builds, engine = tuple(self._builds), self._engine
            root = engine.data_root if engine is not None else None
            if engine is not None and root is not None and root.exists():
                try:
                    self._hold_limits(root, builds)
                    self._keep_floor(engine, root, builds)
                except OSError as error:
                    logger.warning("cannot look at the disk: %s", error)
            with self._changed:
                self._changed.wait(self._tick)

    def _hold_limits(self, root: Path, builds: tuple[WatchedBuild, ...]) -> None:
        """Each build by itself: whoever asks for a limit shares its engine with nobody."""
        limited = [build for build in builds if build.limit and build.failure is None]
        began = time.monotonic()
        if not limited or began < self._next_count:
            return
        for build in limited:
            written = written_since(root, build.began) + written_since(build.workspace, build.began)
            if written > build.limit:
                build.end(
                    BuildFailure(
                        Reason.DISK_EXCEEDED,
                        f"the build wrote {written >> 20} MiB, with its base images, layers and "
                        f"caches; its resources.disk is {build.limit >> 20} MiB",
                    )
                )
        now = time.monotonic()
        self._next_count = now + _EASE * (now - began)

    def _keep_floor(self, engine: Watched, root: Path, builds: tuple[WatchedBuild, ...]) -> None:
        if self._settles(engine, builds):
            return
        total, _, free = self._usage(root)
        if free >= floor_of(total, self._floor_mb):
            return
        folder = root.parent
        written = written_since(root, min(build.began for build in builds))
        say(folder, written)
        time.sleep(self._tick)  # for the others to say it
        if written < WORTH or not wrote_most(folder, folder.parents[2], time.time()):
            return
        youngest = max(builds, key=lambda build: build.began)
        youngest.end(
            BuildFailure(
                Reason.DISK_FULL,
                f"the agent's disk has only {free >> 20} MiB left, and this build's engine wrote "
                f"{written >> 20} MiB of late, more than any other there",
            )
        )
        self._ended = youngest

    def _settles(self, engine: Watched, builds: tuple[WatchedBuild, ...]) -> bool:
        """Whether a build was ended, and the space that it took may still come back."""
        if self._ended is not None:
            self._settled_at = time.monotonic() + SETTLE
            if self._ended not in builds:
                self._ended = None
                engine.tidy()
        return time.monotonic() < self._settled_at
