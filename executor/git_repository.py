"""One repository's sources in one directory: a ref becomes a commit, the commit a tree of files."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from builder_framework.protocol import Reason
from executor.failure import BuildFailure
from executor.git_command import Command, GitRunner
from executor.mirrors import Mirror

_FULL_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SOME_SHA = re.compile(r"[0-9a-f]{7,64}")

# Where a short name may be meant; a branch wins over a tag of the same name, as in `git clone`.
_NAMESPACES = ("refs/heads/", "refs/tags/", "refs/")

_OURS = "refs/builder"
_FETCHED = f"{_OURS}/fetched"


@dataclass(frozen=True)
class History:
    """How much of it is fetched: `depth` commits (0: all), and the `tags` that name those."""

    depth: int = 1
    tags: bool = False

    def options(self) -> tuple[str, ...]:
        """Of `git fetch`."""
        return () if self.depth == 0 else (f"--depth={self.depth}",)


class Repository:
    """The repository at `url`, in `tree`, an empty directory; `scratch` is room beside it.

    `mirror`: where its objects come from and stay. `ref`: the full name that `resolve` found, if a
    name was asked for.
    """

    def __init__(
        self,
        tree: Path,
        url: str,
        runner: GitRunner,
        scratch: Path,
        history: History,
        mirror: Mirror | None = None,
    ) -> None:
        self.tree = tree
        self.url = url
        self._runner = runner
        self._scratch = scratch
        self._history = history
        self._mirror = mirror
        self.ref: str | None = None

    def create(self) -> None:
        """Make `tree` a repository without a commit."""
        self._init(self.tree)

    def resolve(self, ref: str | None) -> str:
        """Fetch what `ref` means, and as little else as possible; the commit's full id."""
        if ref is None:
            return self._fetched("HEAD")
        if _FULL_SHA.fullmatch(ref):
            return self.commit(ref)
        names = [ref] if ref.startswith("refs/") else [space + ref for space in _NAMESPACES]
        if ref == "HEAD":
            names = [ref]
        for name in names:
            found = self._try_fetch(name)
            if found is not None:
                self.ref = name if name.startswith("refs/") else None
                return found
        if _SOME_SHA.fullmatch(ref):
            return self.commit(self._full_sha(ref))
        raise BuildFailure(
            Reason.GIT_REF_NOT_FOUND, f"the repository has no branch, tag or commit {ref!r}"
        )

    def commit(self, sha: str) -> str:
        """Fetch just this commit; where the server does not serve it, look through everything."""
        found = self._try_fetch(sha)
        if found is None:
            log = self._runner.log
            log.line(f"The server does not hand out {sha[:12]} by itself: fetching all refs")
            found = self._look_through_everything(sha)
        if found is None:
            raise BuildFailure(Reason.GIT_REF_NOT_FOUND, f"the repository has no commit {sha!r}")
        return found

    def check_out(self, commit: str, *config: str, reads_lfs: bool = False) -> None:
        """Put the commit's files into `tree`."""
        arguments = ("checkout", "--quiet", "--force", "--detach", commit)
        self._runner.run(self.tree, Command(arguments, self.url, config, reads_lfs=reads_lfs))

    def config_at(self, commit: str, file: str, pattern: str) -> list[tuple[str, str]]:
        """Keys and values of a file in git's format, as the commit has it; none without the file.

        Of the commit and not of the tree on disk, where the name may be a link to another file.
        Sections and keys are in lower case, `include` means nothing. Raises BuildFailure.
        """
        entry = self.git("ls-tree", commit, "--", file).split()
        if not entry or entry[0] not in ("100644", "100755"):
            return []
        # Unlike --file, --blob follows include.path, into any file of this machine.
        options = ("--no-includes", f"--blob={entry[2]}", "--null")
        words = ("config", *options, "--get-regexp", pattern)
        output = self._runner.run(self.tree, Command(words, self.url, takes_missing=True))
        pairs = (item.partition("\n") for item in output.split("\0") if item)
        return [(key, value) for key, _, value in pairs]

    def forget(self) -> None:
        """Take `.git` out of `tree`."""
        shutil.rmtree(self.tree / ".git")

    def tidy(self) -> None:
        """Leave a `.git` as people know it: an origin, and no refs or objects of our own."""
        self.git("config", "remote.origin.url", self.url)
        for ours in (_OURS, "lfs"):
            shutil.rmtree(self.tree / ".git" / ours, ignore_errors=True)

    def git(self, *arguments: str) -> str:
        """A git command here; its stdout. Raises BuildFailure."""
        return self._runner.run(self.tree, Command(arguments, self.url))

    def _full_sha(self, short: str) -> str:
        """The commit that a few digits mean, from the history without trees and files."""
        self._runner.log.line(f"Looking for the commit that begins with {short}")
        bare = self._scratch / "history"
        bare.mkdir(mode=0o700)
        self._init(bare)
        # In a repository of its own: --filter makes one partial, for ever.
        self._fetch_all(bare, "--filter=tree:0")
        found = self._parse(bare, short)
        shutil.rmtree(bare, ignore_errors=True)
        if found is None:
            raise BuildFailure(
                Reason.GIT_REF_NOT_FOUND,
                f"the repository has no branch or tag {short!r}, "
                "and no commit, or more than one, begins with it",
            )
        return found

    def _init(self, where: Path) -> None:
        self._runner.run(where, Command(("init", "--quiet", "--template="), self.url))

    def _fetched(self, name: str) -> str:
        found = self._try_fetch(name)
        if found is None:
            raise BuildFailure(Reason.GIT_REF_NOT_FOUND, f"the repository has no {name}")
        return found

    def _try_fetch(self, name: str) -> str | None:
        """The commit behind a full ref or id, fetched alone; None if the server has none."""
        try:
            self._fetch_one(name)
        except BuildFailure as failure:
            if failure.reason is Reason.GIT_REF_NOT_FOUND:
                return None
            raise
        found = self._parse(self.tree, _FETCHED)
        if found is None:
            raise BuildFailure(Reason.GIT_REF_NOT_FOUND, f"{name!r} does not lead to a commit")
        self._runner.log.line(f"Fetched {name}")
        return found

    def _fetch_one(self, name: str) -> None:
        if self._mirror is not None:
            # How much history the checkout has does not matter: nobody will see it.
            found = self._mirror.fetch(name, ("--depth=1",))
            if found is not None:
                self._mirror.lend(self.tree / ".git")
                self.git("update-ref", _FETCHED, found)
                return
        self._fetch(self.tree, *self._history.options(), refspec=(f"+{name}:{_FETCHED}",))

    def _look_through_everything(self, sha: str) -> str | None:
        """The commit if a branch or tag of the server leads to it."""
        if self._mirror is not None and self._mirror.fetch_all():
            self._mirror.lend(self.tree / ".git")
            found = self._parse(self.tree, sha)
            return found if found is not None and self._mirror.leads_to(found) else None
        self._fetch_all(self.tree)
        return self._parse(self.tree, sha)

    def _fetch_all(self, where: Path, *options: str) -> None:
        # Not into refs/heads: a branch could be named like the commit that is looked for.
        spaces = ("heads", "tags")
        refspec = tuple(f"+refs/{space}/*:{_OURS}/{space}/*" for space in spaces)
        self._fetch(where, *options, refspec=refspec)

    def _fetch(self, where: Path, *options: str, refspec: tuple[str, ...]) -> None:
        """From the server, tried again if it cannot be reached for now."""
        # Tags that name something fetched come along unless that is switched off.
        tags = () if self._history.tags else ("--no-tags",)
        arguments = (
            "fetch",
            "--quiet",
            *tags,
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            *options,
            "--end-of-options",
            self.url,
            *refspec,
        )
        self._runner.retries.run(lambda: self._runner.run(where, Command(arguments, self.url)))

    def _parse(self, where: Path, name: str) -> str | None:
        words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        try:
            found = self._runner.run(where, Command(words, self.url)).strip()
        except BuildFailure:
            return None
        return found if _FULL_SHA.fullmatch(found) else None
