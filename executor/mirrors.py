"""What agents keep of git repositories: a bare one for each URL, so that only what is new moves.

    ROOT/URL-HASH/lock        held by the one build that fetches and checks out
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
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from builder_framework.protocol import Reason
from executor.cancel import CancelToken
from executor.git_command import Command, GitRunner

logger = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds to wait for another build of the same URL; then this one goes without the mirror."""

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
    """One URL's, locked by this build. Raises BuildFailure, Stopped."""

    folder: Path
    url: str
    runner: GitRunner

    @property
    def path(self) -> Path:
        """The bare repository."""
        return self.folder / "objects.git"

    def fetch(self, name: str, options: tuple[str, ...]) -> str:
        """Bring what `name` means at the server, and what is new of it; the object's id."""
        self._prepare()
        before = self._size()
        ref = f"{_REF}/{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        self._fetch(options, f"+{name}:{ref}")
        now = self._size()
        self.runner.log.line(
            f"{max(0, now - before)} KiB of {now} KiB came from the server, the rest was here"
        )
        found = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", ref)
        return found.strip()

    def fetch_all(self) -> None:
        """Bring every branch and tag with all their history, and forget those that are gone."""
        self._prepare()
        everything = (*EVERYTHING, "--prune")
        self._fetch(everything, *(f"+refs/{kind}/*:{_REF}/{kind}/*" for kind in _KINDS))

    def leads_to(self, commit: str) -> bool:
        """Whether the server's branches or tags do, as of `fetch_all`; being here says nothing."""
        words = ("for-each-ref", "--count=1", f"--contains={commit}")
        return bool(self._git(*words, *(f"{_REF}/{kind}" for kind in _KINDS)).strip())

    def lend(self, git_dir: Path) -> None:
        """Let a repository without objects of its own use these, while the lock is ours."""
        (git_dir / "objects/info/alternates").write_text(f"{self.path / 'objects'}\n")
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(self.path / "shallow", git_dir / "shallow")

    def discard(self) -> None:
        """It is of no use: the next one begins anew."""
        logger.warning("the mirror %s was of no use: removing it", self.folder.name)
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):  # it is gone, or no directory
            self.path.unlink()

    def _prepare(self) -> None:
        if not (self.path / "objects").is_dir() or self._size() > MAX_KIB:
            self._remove()
            self.path.mkdir(parents=True, mode=0o700)
            self._git("init", "--quiet", "--bare", "--template=")
        for left in self.path.glob("*.lock"):  # of a fetch that was killed
            left.unlink(missing_ok=True)

    def _fetch(self, options: tuple[str, ...], *refspec: str) -> None:
        common = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
        words = ("fetch", *common, *options, "--end-of-options", self.url, *refspec)
        command = Command(words, self.url)
        self.runner.retries.run(lambda: self.runner.run(self.path, command))
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
    """Of one build, which holds each of its mirrors until `release`."""

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
        """Whether a build got anything from one."""
        return any(self._open.values())

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
        until = time.monotonic() + PATIENCE
        while not _try(lock):
            if time.monotonic() > until:
                logger.info("another build fetches from %s: going without its mirror", url)
                return None
            self._token.wait(_TICK)
        if not _is_same(lock, folder / "lock"):
            return None  # it was removed to make room, just before it was ours
        (folder / "lock").touch()
        return Mirror(folder, url, self._runner)


def _try(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same(lock: IO[str], path: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    return False
