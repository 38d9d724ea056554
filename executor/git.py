"""From a git URL and a ref to a checked-out commit. No option, hook or config of others runs."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from builder_framework.protocol import Reason
from builder_framework.recipe import GitSource
from executor import process
from executor.cancel import CancelToken
from executor.failure import BuildFailure
from executor.git_errors import classify, is_transient
from executor.log import BuildLog
from executor.retry import Retries
from executor.surroundings import network_settings
from executor.workspace import Workspace

_FULL_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SOME_SHA = re.compile(r"[0-9a-f]{7,64}")

_MAX_ERROR = 64 * 1024
"""Bytes of git's stderr that are looked at."""

# Command-line configuration: the only one that git reads here, beside the new repository's own.
_CONFIG = (
    "advice.detachedHead=false",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "credential.helper=",
    "fetch.recurseSubmodules=false",
    "gc.auto=0",
    "http.followRedirects=false",
    # Under 1000 bytes per second for a minute is a dead server, not a slow one.
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    "init.defaultBranch=main",
    "log.showSignature=false",
    "maintenance.auto=false",
    "protocol.ext.allow=never",
    "safe.directory=*",
    "submodule.recurse=false",
)

# Where a short name may be meant; a branch wins over a tag of the same name, as in `git clone`.
_NAMESPACES = ("refs/heads/", "refs/tags/", "refs/")

_FETCHED = "refs/builder/fetched"

# git(1) asks `Password for 'https://user@host': ` as the only argument. Only the expected host
# gets an answer. The script holds no secret: it lies on a disk, the secrets in memory.
_ASKPASS = """#!/bin/sh
case "$1" in
"Username for '$BUILDER_GIT_ORIGIN'"*) exec cat "$BUILDER_GIT_SECRETS/git-username" ;;
"Password for '$BUILDER_GIT_SCHEME://"*"@$BUILDER_GIT_HOST'"*) ;;
"Password for '$BUILDER_GIT_ORIGIN'"*) ;;
*) exit 1 ;;
esac
exec cat "$BUILDER_GIT_SECRETS/git-password"
"""

_SSH = (
    "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes -oUserKnownHostsFile=/etc/ssh/ssh_known_hosts "
    "-oConnectTimeout=30 -F /dev/null"
)


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
    """One repository's sources for one build; `url` and `ref` have passed `validate`."""

    def __init__(
        self,
        spec: GitSource,
        protocols: tuple[str, ...],
        workspace: Workspace,
        log: BuildLog,
        token: CancelToken,
        retries: Retries,
    ) -> None:
        self._spec = spec
        self._workspace = workspace
        self._log = log
        self._token = token
        self._retries = retries
        self._ref: str | None = None
        self._env = self._environment(protocols)
        self._config = [
            *_CONFIG,
            f"protocol.file.allow={'always' if 'file' in protocols else 'never'}",
        ]

    def check_out(self, found: Callable[[str], None]) -> Checkout:
        """Fetch as little as possible and check the commit out, without `.git` in the end.

        `found` hears the commit as soon as it is known. Raises BuildFailure, Stopped.
        """
        tree = self._workspace.checkout
        self._init(tree)
        commit = self._resolve(tree)
        found(commit)
        shown = self._git(tree, "show", "-s", "--format=%cI%n%s", "--end-of-options", commit)
        committed, _, subject = shown.partition("\n")
        self._git(tree, "checkout", "--quiet", "--force", "--detach", commit)
        # Out of the build context: nothing of ours leaks, and it would spoil every COPY's cache.
        shutil.rmtree(tree / ".git")
        return Checkout(commit, committed.strip(), subject.strip(), self._ref)

    def _resolve(self, tree: Path) -> str:
        ref = self._spec.ref
        if ref is None:
            return self._fetched(tree, "HEAD")
        if _FULL_SHA.fullmatch(ref):
            return self._commit(tree, ref)
        names = [ref] if ref.startswith("refs/") else [space + ref for space in _NAMESPACES]
        if ref == "HEAD":
            names = [ref]
        for name in names:
            found = self._try_fetch(tree, name)
            if found is not None:
                self._ref = name if name.startswith("refs/") else None
                return found
        if _SOME_SHA.fullmatch(ref):
            return self._commit(tree, self._full_sha(ref))
        raise BuildFailure(
            Reason.GIT_REF_NOT_FOUND, f"the repository has no branch, tag or commit {ref!r}"
        )

    def _commit(self, tree: Path, sha: str) -> str:
        """Fetch just this commit; where the server does not serve it, look through everything."""
        found = self._try_fetch(tree, sha)
        if found is None:
            self._log.line(f"The server does not hand out {sha[:12]} by itself: fetching all refs")
            self._fetch_all(tree)
            found = self._parse(tree, sha)
        if found is None:
            raise BuildFailure(Reason.GIT_REF_NOT_FOUND, f"the repository has no commit {sha!r}")
        return found

    def _full_sha(self, short: str) -> str:
        """The commit that a few digits mean, from the history without trees and files."""
        self._log.line(f"Looking for the commit that begins with {short}")
        bare = self._workspace.scratch("history")
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
        self._git(where, "init", "--quiet", "--template=")

    def _fetched(self, tree: Path, name: str) -> str:
        found = self._try_fetch(tree, name)
        if found is None:
            raise BuildFailure(Reason.GIT_REF_NOT_FOUND, f"the repository has no {name}")
        return found

    def _try_fetch(self, tree: Path, name: str) -> str | None:
        """The commit behind a full ref or id, fetched alone; None if the server has none."""
        try:
            self._fetch(tree, "--depth=1", refspec=(f"+{name}:{_FETCHED}",))
        except BuildFailure as failure:
            if failure.reason is Reason.GIT_REF_NOT_FOUND:
                return None
            raise
        found = self._parse(tree, _FETCHED)
        if found is None:
            raise BuildFailure(Reason.GIT_REF_NOT_FOUND, f"{name!r} does not lead to a commit")
        self._log.line(f"Fetched {name}")
        return found

    def _fetch_all(self, where: Path, *options: str) -> None:
        # Not into refs/heads: a branch could be named like the commit that is looked for.
        spaces = ("heads", "tags")
        refspec = tuple(f"+refs/{space}/*:refs/builder/{space}/*" for space in spaces)
        self._fetch(where, *options, refspec=refspec)

    def _fetch(self, where: Path, *options: str, refspec: tuple[str, ...]) -> None:
        """From the server, tried again if it cannot be reached for now."""
        arguments = (
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            *options,
            "--end-of-options",
            self._spec.url,
            *refspec,
        )
        self._retries.run(lambda: self._git(where, *arguments))

    def _parse(self, where: Path, name: str) -> str | None:
        try:
            found = self._git(
                where, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
            ).strip()
        except BuildFailure:
            return None
        return found if _FULL_SHA.fullmatch(found) else None

    def _git(self, where: Path, *arguments: str) -> str:
        """Run git there and return its stdout. Raises BuildFailure with its stderr classified."""
        config = [part for item in self._config for part in ("-c", item)]
        out, err = bytearray(), bytearray()

        def keep(buffer: bytearray) -> Callable[[bytes], None]:
            def sink(data: bytes) -> None:
                # The end says what went wrong.
                buffer.extend(data)
                del buffer[:-_MAX_ERROR]

            return sink

        code = process.run(
            ["git", *config, *arguments],
            token=self._token,
            env=self._env,
            cwd=where,
            output=keep(out),
            errors=keep(err),
        )
        if code == 0:
            return out.decode(errors="replace")
        stderr = err.decode(errors="replace").strip()
        # Without the URL: a repository may be called "proxy" or "ssl".
        words = stderr.replace(self._spec.url, "URL")
        reason, sentence = classify(words)
        if reason is not Reason.GIT_REF_NOT_FOUND and arguments[0] != "rev-parse":
            self._log.line(stderr or f"git {arguments[0]} ended with {code}")
        detail = stderr.splitlines()[-1] if stderr else f"exit code {code}"
        raise BuildFailure(reason, f"{sentence}: {detail}", transient=is_transient(reason, words))

    def _environment(self, protocols: tuple[str, ...]) -> dict[str, str]:
        space = self._workspace
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(space.home),
            "LC_ALL": "C",
            "GIT_ALLOW_PROTOCOL": ":".join(protocols),
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_SSH_COMMAND": _SSH,
            "GIT_ASKPASS": "/bin/false",
            **network_settings(),
        }
        spec = self._spec
        url = urlsplit(spec.url)
        if spec.password is not None and url.scheme in ("http", "https"):
            script = space.root / "askpass"
            script.write_text(_ASKPASS)
            script.chmod(0o700)
            # Some hosts take a token as the password of any user; an empty name is refused.
            space.secret_file("git-username", spec.username or "git")
            space.secret_file("git-password", spec.password.reveal())
            env |= {
                "GIT_ASKPASS": str(script),
                "BUILDER_GIT_ORIGIN": f"{url.scheme}://{url.netloc}",
                "BUILDER_GIT_SCHEME": url.scheme,
                "BUILDER_GIT_HOST": url.netloc,
                "BUILDER_GIT_SECRETS": str(space.secrets),
            }
        return env
