"""What agents keep of git repositories: a bare one for each URL, so that only what is new moves.

    ROOT/URL-HASH/lock        shared by the builds that use it; who removes it has it alone
    ROOT/URL-HASH/fetching    held by the one build that fetches
    ROOT/URL-HASH/objects.git

ROOT belongs to one trust domain (`executor.caches`). A mirror only spares the way of objects: what
a ref means, and whether a build may see it, every build asks the server, with its own credentials.
A mirror that is of no use is thrown away; none is ever needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from builder_framework.protocol import Reason
from executor.cancel import CancelToken
from executor.failure import BuildFailure
from executor.git_command import Command, GitRunner

logger = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds to wait while others fetch from the same URL; then this build goes without the mirror.

What they bring need not be fetched again. But their server may also hang."""

MAX_KIB = 10 * 1024 * 1024
"""Of a mirror; a larger one begins anew."""

EVERYTHING = ("--depth=2147483647",)
"""git's own name for all of the history (Documentation/fetch-options.txt), also where some of it is
not here yet."""

_TICK = 0.1
_REF = "refs/builder"
_KINDS = ("heads", "tags")

DOUBTFUL = frozenset({Reason.GIT_FAILED, Reason.GIT_LFS_FAILED, Reason.DISK_FULL})
"""Failures that may be the mirror's; the others are the server's. What git says while git-lfs fills
in files counts as git-lfs'."""


@dataclass
class Mirror:
    """One URL's, which nobody takes away to make room meanwhile. Raises BuildFailure, Stopped.

    `busy`: others have fetched for so long that this build goes without.
    """

    folder: Path
    url: str
    runner: GitRunner
    token: CancelToken
    busy: bool = field(default=False, init=False)

    @property
    def path(self) -> Path:
        """The bare repository."""
        return self.folder / "objects.git"

    def fetch(self, name: str, options: tuple[str, ...]) -> str | None:
        """Bring what `name` means at the server, and what is new of it; the object's id.

        None if it is busy.
        """
        ref = f"{_REF}/{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        with self._alone() as alone:
            if not alone:
                return None
            self._fetch(options, f"+{name}:{ref}")
            words = ("rev-parse", "--verify", "--quiet", "--end-of-options", ref)
            return self._git(*words).strip()

    def fetch_all(self) -> bool:
        """Bring every branch and tag with all their history, and forget those that are gone.

        False if it is busy.
        """
        with self._alone() as alone:
            if alone:
                everything = (*EVERYTHING, "--prune")
                self._fetch(everything, *(f"+refs/{kind}/*:{_REF}/{kind}/*" for kind in _KINDS))
            return alone

    def leads_to(self, commit: str) -> bool:
        """Whether the server's branches or tags do, as of `fetch_all`; being here says nothing."""
        words = ("for-each-ref", "--count=1", f"--contains={commit}")
        return bool(self._git(*words, *(f"{_REF}/{kind}" for kind in _KINDS)).strip())

    def lend(self, git_dir: Path) -> None:
        """Let a repository without objects of its own use these, until `Mirrors.release`.

        Others may fetch meanwhile, and git may repack: it looks again for what it does not find.
        """
        (git_dir / "objects/info/alternates").write_text(f"{self.path / 'objects'}\n")
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(self.path / "shallow", git_dir / "shallow")

    def discard(self) -> None:
        """It is of no use: the next one begins anew. Who uses it now goes without it, too."""
        with self._fetching() as lock:
            if _try(lock, fcntl.LOCK_EX):
                logger.warning("the mirror %s was of no use: removing it", self.folder.name)
                self._remove()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether nobody else fetches, after some patience; then it is ready to be fetched into."""
        if self.busy:
            yield False
            return
        with self._fetching() as lock:
            self.busy = not self._wait_for(lock)
            if self.busy:
                self.runner.log.line("Another build still fetches: going without the mirror")
            else:
                self._prepare()
            yield not self.busy

    def _wait_for(self, lock: IO[str]) -> bool:
        until = time.monotonic() + PATIENCE
        while not _try(lock, fcntl.LOCK_EX):
            if time.monotonic() > until:
                return False
            self.token.wait(_TICK)
        return True

    def _fetching(self) -> IO[str]:
        return (self.folder / "fetching").open("a")

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):  # it is gone, or no directory
            self.path.unlink()

    def _prepare(self) -> None:
        if not self._is_repository() or self._size() > MAX_KIB:
            self._remove()
            self.path.mkdir(parents=True, mode=0o700)
            self._git("init", "--quiet", "--bare", "--template=")
        # Of fetches that were killed. git itself keeps what they had got for two weeks.
        for pattern in ("**/*.lock", "objects/*/tmp_*"):
            for left in self.path.glob(pattern):
                left.unlink(missing_ok=True)

    def _is_repository(self) -> bool:
        """A machine that lost its power leaves empty files."""
        with contextlib.suppress(BuildFailure):
            return self.path.is_dir() and bool(self._git("rev-parse", "--git-dir"))
        return False

    def _fetch(self, options: tuple[str, ...], *refspec: str) -> None:
        common = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
        words = ("fetch", *common, *options, "--end-of-options", self.url, *refspec)
        command = Command(words, self.url)
        before = self._size()
        self.runner.retries.run(lambda: self.runner.run(self.path, command))
        now = self._size()
        self.runner.log.line(
            f"{max(0, now - before)} KiB of {now} KiB came from the server, the rest was here"
        )
        self._git("-c", "gc.auto=50", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")

    def _size(self) -> int:
        """KiB of objects."""
        told = dict(
            line.split(": ", 1)
            for line in self._git("count-objects", "--verbose").splitlines()
            if ": " in line
        )
        return int(told.get("size", 0)) + int(told.get("size-pack", 0))

    def _git(self, *words: str) -> str:
        return self.runner.run(self.path, Command(words, self.url))


class Mirrors:
    """Of one build, which shares each of its mirrors until `release`."""

    def __init__(self, root: Path, runner: GitRunner, token: CancelToken) -> None:
        self._root = root
        self._runner = runner
        self._token = token
        self._held = contextlib.ExitStack()
        self._open: dict[str, Mirror | None] = {}

    def of(self, url: str) -> Mirror | None:
        """The mirror of this URL; None if it cannot be had. Raises Stopped."""
        if url not in self._open:
            try:
                self._open[url] = self._locked(url)
            except OSError as error:
                logger.warning("no mirror for git: %s", error)
                self._open[url] = None
        return self._open[url]

    @property
    def used(self) -> bool:
        """Whether the build may have got anything from one."""
        return any(mirror is not None and not mirror.busy for mirror in self._open.values())

    def discard(self) -> None:
        """All that this build has used."""
        for mirror in self._open.values():
            if mirror is not None:
                mirror.discard()

    def release(self) -> None:
        """Others may throw them away."""
        self._open.clear()
        self._held.close()

    def _locked(self, url: str) -> Mirror | None:
        folder = self._root / hashlib.sha256(url.encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = self._held.enter_context((folder / "lock").open("a"))
        if not _try(lock, fcntl.LOCK_SH) or not _is_same(lock, folder / "lock"):
            return None  # it is being removed to make room
        (folder / "lock").touch()
        return Mirror(folder, url, self._runner, self._token)


def _try(lock: IO[str], how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same(lock: IO[str], path: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    return False
