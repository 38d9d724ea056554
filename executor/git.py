"""From a git URL and a ref to a checked-out commit. No option, hook or config of others runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from builder_framework.recipe import GitSource
from executor import lfs, submodules
from executor.cancel import CancelToken
from executor.failure import BuildFailure
from executor.git_command import GitRunner
from executor.git_repository import History, Repository
from executor.log import BuildLog
from executor.mirrors import DOUBTFUL, Mirrors
from executor.retry import Retries
from executor.submodules import Submodule
from executor.workspace import Workspace


@dataclass(frozen=True)
class Checkout:
    """What was checked out: the full commit id, its time (ISO 8601) and its subject line.

    `ref`: the full name that led to it (`refs/heads/main`), if one did.
    """

    commit: str
    committed: str
    subject: str
    ref: str | None = None


class Git:
    """One build's sources; what `spec` names has passed `validate`."""

    def __init__(
        self,
        spec: GitSource,
        protocols: tuple[str, ...],
        workspace: Workspace,
        log: BuildLog,
        token: CancelToken,
        retries: Retries,
        mirrors: Path | None = None,
    ) -> None:
        """`mirrors`: the directory of `executor.mirrors`, where there is one."""
        self._spec = spec
        self._protocols = protocols
        self._workspace = workspace
        self._log = log
        self._runner = GitRunner(spec, protocols, workspace, log, token, retries)
        self._mirrors: Mirrors | None = None
        # A `.git` that stays must not point to anything outside.
        if mirrors is not None and not spec.keep_git_dir:
            self._mirrors = Mirrors(mirrors, self._runner, token)
        self._history = History(spec.depth, tags=spec.keep_git_dir)
        self._pointers = 0
        self._submodules = 0

    def check_out(self, found: Callable[[str], None]) -> Checkout:
        """Fetch as little as asked for and check the commit out, submodules and all.

        `found` hears the commit as soon as it is known. Raises BuildFailure, Stopped.
        """
        if self._mirrors is None:
            return self._check_out(found)
        mirrors = self._mirrors
        try:
            return self._check_out(found)
        except (BuildFailure, OSError) as error:
            doubtful = isinstance(error, OSError) or error.reason in DOUBTFUL
            if not doubtful or not mirrors.used:
                raise
            self._log.line(f"{error}\nOnce more, without the mirror on this agent")
            done = self._once_more(found)
            # It was the mirror: nothing else is different.
            mirrors.discard()
            return done
        finally:
            mirrors.release()

    def _once_more(self, found: Callable[[str], None]) -> Checkout:
        """From the server alone."""
        self._mirrors = None
        self._pointers = self._submodules = 0
        shutil.rmtree(self._workspace.checkout)
        self._workspace.checkout.mkdir(mode=0o700)
        return self._check_out(found)

    def _check_out(self, found: Callable[[str], None]) -> Checkout:
        repository = self._repository(self._workspace.checkout, self._spec.url)
        repository.create()
        commit = repository.resolve(self._spec.ref)
        found(commit)
        shown = repository.git("show", "-s", "--format=%cI%n%s", "--end-of-options", commit)
        committed, _, subject = shown.partition("\n")
        self._fill(repository, commit, level=0)
        if self._pointers:
            self._log.line(f"{self._pointers} files are Git LFS pointers: `lfs` was not asked for")
        return Checkout(commit, committed.strip(), subject.strip(), repository.ref)

    def _repository(self, tree: Path, url: str) -> Repository:
        mirror = self._mirrors.of(url) if self._mirrors is not None else None
        return Repository(tree, url, self._runner, self._workspace.root, self._history, mirror)

    def _fill(self, repository: Repository, commit: str, level: int) -> None:
        """The commit's files, its submodules' files, and then no `.git` unless it is wanted."""
        if self._spec.lfs:
            lfs.check_out(repository, commit, self._runner, self._protocols)
        else:
            repository.check_out(commit)
            self._pointers += lfs.count_pointers(repository, self._runner)
        if self._spec.submodules:
            for each in submodules.find(repository, commit, self._runner, self._protocols):
                self._add(repository, each, level + 1)
        if self._spec.keep_git_dir:
            repository.tidy()
        else:
            # Out of the build context: it would spoil every COPY's cache.
            repository.forget()

    def _add(self, parent: Repository, each: Submodule, level: int) -> None:
        self._submodules += 1
        if level > submodules.MAX_LEVELS or self._submodules > submodules.MAX_NUMBER:
            raise submodules.refused(
                each.path,
                f"at most {submodules.MAX_NUMBER} submodules, {submodules.MAX_LEVELS} in one "
                "another, are fetched",
            )
        child = self._repository(submodules.place(parent.tree, each.path), each.url)
        self._log.line(f"Submodule {each.path}: {each.commit[:12]} of {each.url}")
        try:
            child.create()
            child.commit(each.commit)
            self._fill(child, each.commit, level)
        except BuildFailure as failure:
            raise BuildFailure(
                failure.reason,
                f"in submodule {each.path!r}: {failure.message}",
                transient=failure.transient,
            ) from None
