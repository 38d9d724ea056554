"""The sources of a build, wherever they come from, in the workspace's checkout."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from builder_framework.recipe import (
    GitSource,
    InlineSource,
    Source,
    TarballSource,
    TaskSource,
    UploadSource,
)
from executor import tarball
from executor.cancel import CancelToken
from executor.git import Git
from executor.log import BuildLog
from executor.retry import Retries
from executor.tarball import Archive, Unpacked
from executor.workspace import Workspace

INLINE_NAME = "Dockerfile"


@dataclass(frozen=True)
class Checkout:
    """What is to be built. `digest`: of an archive (`sha256:…`).

    Of git: the full commit id, its subject line, and the full name that led to it
    (`refs/heads/main`), if one did. `committed`: the source's time (ISO 8601), if it has one.
    """

    commit: str | None = None
    committed: str | None = None
    subject: str = ""
    ref: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Fetcher:
    """`retries` for servers of others, `patience` for our own framework, which comes back.
    `mirrors`: what this agent keeps of git repositories.
    """

    source: Source
    protocols: Collection[str]
    workspace: Workspace
    log: BuildLog
    token: CancelToken
    retries: Retries
    patience: Retries
    mirrors: Path | None = None

    @property
    def title(self) -> str:
        """What is going to be done, for the log."""
        match self.source.given:
            case GitSource(url=url, ref=ref):
                return f"Cloning {url} ({ref or 'HEAD'})"
            case TarballSource() as tarball:
                return f"Fetching {tarball.url}"
            case UploadSource():
                return "Fetching what was uploaded"
            case InlineSource():
                return "Writing the Dockerfile"
            case TaskSource(image=image):
                return f"Nothing to fetch for {image}"

    def fetch(self, found: Callable[[Checkout], None]) -> Checkout:
        """`found` hears what it is as soon as it is known. Raises BuildFailure, Stopped."""
        match self.source.given:
            case GitSource() as git:
                return self._clone(git, found)
            case TarballSource() as tarball:
                return self._unpack(Archive.at(tarball), self.retries, found)
            case UploadSource() as upload:
                return self._unpack(Archive.uploaded(upload), self.patience, found)
            case InlineSource(dockerfile=text):
                path = self.workspace.checkout / INLINE_NAME
                path.write_text(text, encoding="utf-8")
                return Checkout()
            case TaskSource():
                return Checkout()

    def _clone(self, source: GitSource, found: Callable[[Checkout], None]) -> Checkout:
        git = Git(
            source,
            tuple(self.protocols),
            self.workspace,
            self.log,
            self.token,
            self.retries,
            self.mirrors,
        )
        got = git.check_out(lambda commit: found(Checkout(commit)))
        self.log.line(f"Checked out {got.commit}: {got.subject}")
        return Checkout(got.commit, got.committed, got.subject, got.ref)

    def _unpack(
        self, archive: Archive, retries: Retries, found: Callable[[Checkout], None]
    ) -> Checkout:
        got: Unpacked = retries.run(lambda: self._once(archive))
        self.log.line(f"Unpacked {got.digest}")
        newest = datetime.fromtimestamp(int(got.newest), timezone.utc).isoformat()
        checkout = Checkout(committed=newest, digest=got.digest)
        found(checkout)
        return checkout

    def _once(self, archive: Archive) -> Unpacked:
        folder = self.workspace.checkout
        shutil.rmtree(folder)  # what an earlier try left
        folder.mkdir(mode=0o700)
        return tarball.fetch(archive, folder, self.token)
