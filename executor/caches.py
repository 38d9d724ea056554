"""What builds leave for later ones on this agent: one volume, a directory for each trust domain.

    ROOT/DOMAIN/engines/N/   lock      held by whoever uses this directory
                             state     `ending` while its holder's engine stops
                             sources   what was built here, the newest first
                             docker/   the engine's data root
    ROOT/none/engines/X/     the same of a build without a cache, gone with its engine
    ROOT/DOMAIN/git/URL-HASH/          see `executor.mirrors`
    ROOT/DOMAIN/*/gone-X/    what is being removed

Nothing of a domain is ever seen by another. A directory has one engine at a time, and a free one
may be taken away to make room.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)

ROOT = Path("/var/lib/builder")
"""A named Docker volume or a directory of the host, mounted by Mesos: overlay does not work on the
container's own overlay."""

ENDING_PATIENCE = 5.0
"""Seconds to wait for an engine that is about to leave the best directory: it needs one or two."""

REMEMBERED = 100
"""Sources that a directory remembers."""

LOW_DISK = 0.1
"""Share of the file system that should be free when a build begins."""

_TICK = 0.05
_GONE = "gone-"

_BLOBS = "containerd/daemon/io.containerd.content.v1.content/blobs/sha256/*"
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
"""How gzip (RFC 1952) and zstd (RFC 8878) begin."""

_LARGEST = 256 * 1024 * 1024
"""Bytes. A step's output is cut at 8 MiB (`engine.STEP_LOG`)."""

_CLOCK = 2.0
"""Seconds by which the times of files may be behind."""


@dataclass(frozen=True)
class CacheKey:
    """Whose cache: `domain` is a file name, `source` says what is built. `lasting`: whether
    anything was there before, or stays.
    """

    domain: str
    source: str
    lasting: bool = True


NOBODY = "none"
"""The domain of builds without a cache; others are 16 characters long."""

COLD = CacheKey(NOBODY, "", lasting=False)


@dataclass(frozen=True)
class Lease:
    """A directory that is ours until `release`, or until this process ends. `since`: when it
    became ours.
    """

    folder: Path
    lock: IO[str]
    since: float
    lasting: bool = True

    @property
    def data_root(self) -> Path:
        """The engine's."""
        return self.folder / "docker"

    def scrub(self, needles: Collection[bytes]) -> int:
        """Remove what the engine remembers of its builds' output where that holds one of these.

        BuildKit keeps the output of every step, as it was printed, among its blobs. Only while no
        engine runs here. Returns how many blobs went.
        """
        gone = 0
        for path in self.data_root.glob(_BLOBS):
            if _holds(path, self.since, needles):
                path.unlink(missing_ok=True)
                gone += 1
        return gone

    def remember(self, source: str) -> None:
        """Another source is built here."""
        with contextlib.suppress(OSError):
            _remember(self.folder, source)

    def ending(self) -> None:
        """The engine is about to stop: who wants this directory may wait for it."""
        with contextlib.suppress(OSError):
            (self.folder / "state").write_text("ending")

    def release(self) -> None:
        """Let others have it, or nobody."""
        if self.lasting:
            self.lock.close()
        else:
            self.discard()

    def discard(self) -> None:
        """Remove it. First its name: who finds one half-removed, without its lock file, would take
        it, and lose what he writes there.
        """
        with contextlib.closing(self.lock), contextlib.suppress(OSError):
            away = self.folder.with_name(f"{_GONE}{uuid.uuid4().hex}")
            self.folder.rename(away)
            shutil.rmtree(away, ignore_errors=True)


def acquire(key: CacheKey, go_on: Callable[[], bool], root: Path = ROOT) -> Lease | None:
    """A directory of the domain: the one where the source was built last, or the warmest free one.

    Waits for a moment if that one's engine is stopping. None once `go_on` says so. Raises OSError.
    """
    home = root / key.domain / "engines"
    home.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + ENDING_PATIENCE
    while go_on():
        if not key.lasting:
            return _new(home)
        folders = _by_warmth(home, key.source)
        for folder in folders:
            lease = _try(folder)
            if lease is not None:
                _remember(folder, key.source)
                return lease
            if time.monotonic() < until and _is_ending(folder):
                break  # better a moment later than a colder one
        else:
            (home / _next(folders)).mkdir(exist_ok=True)
            continue
        time.sleep(_TICK)
    return None


def make_room(root: Path = ROOT, low: float = LOW_DISK) -> list[Path]:
    """Remove what dead executors left of builds without a cache, and of what they removed.

    While the disk is too full, also directories that nobody uses, the longest unused first.

    Returns those that went for want of room.
    """
    for folder in root.glob(f"*/*/{_GONE}*"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in root.glob(f"{NOBODY}*/engines/*"):
        if (left := _try(folder)) is not None:
            left.discard()
    gone = []
    kept = [*root.glob("*/engines/*"), *root.glob("*/git/*")]
    for folder in sorted(kept, key=_used):
        if not _is_full(root, low):
            break
        if (lease := _try(folder)) is not None:
            logger.info("the disk is nearly full: removing %s", folder)
            lease.discard()
            gone.append(folder)
    return gone


def _new(home: Path) -> Lease:
    """A directory that goes with its lease."""
    while True:
        folder = home / uuid.uuid4().hex
        folder.mkdir()
        lease = _try(folder)
        if lease is not None:  # or somebody else has just cleared it away
            return replace(lease, lasting=False)


def _is_full(root: Path, low: float) -> bool:
    usage = shutil.disk_usage(root)
    return usage.free < low * usage.total


def _by_warmth(home: Path, source: str) -> list[Path]:
    def warmth(folder: Path) -> tuple[bool, float]:
        return source in _sources(folder), _used(folder)

    folders = (each for each in home.iterdir() if not each.name.startswith(_GONE))
    return sorted(folders, key=warmth, reverse=True)


def _used(folder: Path) -> float:
    """When it was leased last; of a mirror, locked."""
    for name in ("sources", "lock"):
        with contextlib.suppress(OSError):
            return (folder / name).stat().st_mtime
    return 0.0


def _sources(folder: Path) -> list[str]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder / "sources").read_text())
        return [str(source) for source in found]
    return []


def _remember(folder: Path, source: str) -> None:
    others = [known for known in _sources(folder) if known != source]
    (folder / "sources").write_text(json.dumps([source, *others][:REMEMBERED]))
    (folder / "state").write_text("in use")


def _is_ending(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return (folder / "state").read_text() == "ending"
    return False


def _try(folder: Path) -> Lease | None:
    """The lease if nobody has it. Two engines in one directory destroy it."""
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context((folder / "lock").open("a"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # taken, or just removed
            return None
        # Removed between the two, and perhaps made anew: then the lock is that of a dead file.
        if not _is_same(lock, folder / "lock"):
            return None
        stack.pop_all()
        return Lease(folder, lock, time.time())


def _holds(path: Path, since: float, needles: Collection[bytes]) -> bool:
    """Whether it is new, no layer (those are compressed, and a build may need them) and has one."""
    with contextlib.suppress(OSError):
        found = path.stat()
        if found.st_mtime < since - _CLOCK or found.st_size > _LARGEST:
            return False
        content = path.read_bytes()
        return not content.startswith(_COMPRESSED) and any(each in content for each in needles)
    return False


def _is_same(lock: IO[str], path: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    return False


def _next(folders: list[Path]) -> str:
    taken = {folder.name for folder in folders}
    return next(name for name in map(str, _numbers()) if name not in taken)


def _numbers() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1
