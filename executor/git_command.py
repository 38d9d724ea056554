"""One git command, fenced in: no configuration, hook, helper or prompt but what stands here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from builder_framework.protocol import Reason
from builder_framework.recipe import GitSource
from executor import process
from executor.cancel import CancelToken
from executor.failure import BuildFailure
from executor.git_credentials import GitCredentials, Origin
from executor.git_errors import classify, is_transient, telling_line
from executor.log import BuildLog
from executor.retry import Retries
from executor.surroundings import network_settings
from executor.workspace import Workspace

_MAX_ERROR = 64 * 1024
"""Bytes of git's stderr that are looked at; the end says what went wrong."""

MAX_OUTPUT = 1024 * 1024
"""Bytes that a command whose output is kept may write: the .gitmodules of many submodules."""

# Command-line configuration: the only one that git reads here, beside the new repository's own.
_CONFIG = (
    "advice.detachedHead=false",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    # Else a `.git` that is kept would tell of this machine and hour.
    "core.logAllRefUpdates=false",
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


class Command(NamedTuple):
    """A git command. `url`: the server it talks to, or that its repository came from.

    `config`: more configuration, `key=value`. `takes_missing`: its exit code 1 means "there is
    none", and gives no output. `reads_lfs`: git-lfs may put objects in place of their pointers.
    """

    arguments: tuple[str, ...]
    url: str
    config: tuple[str, ...] = ()
    takes_missing: bool = False
    reads_lfs: bool = False

    @property
    def asks_server(self) -> bool:
        """Whether what it says may be about a server."""
        return self.arguments[0] in ("fetch", "lfs") or self.reads_lfs


class GitRunner:
    """Runs git for one build, with the credentials of whatever server it is to talk to."""

    def __init__(
        self,
        source: GitSource,
        protocols: Iterable[str],
        workspace: Workspace,
        log: BuildLog,
        token: CancelToken,
        retries: Retries,
    ) -> None:
        self.protocols = tuple(protocols)
        self.log = log
        self.retries = retries
        self.credentials = GitCredentials(source, workspace)
        self._token = token
        self._home = workspace.home
        files = "always" if "file" in self.protocols else "never"
        self._config = (*_CONFIG, f"protocol.file.allow={files}")

    def run(self, where: Path, command: Command, sink: process.Output | None = None) -> str:
        """Run git there and return its stdout, unless `sink` gets that.

        Raises BuildFailure with its stderr classified, Stopped.
        """
        out, err = bytearray(), bytearray()

        def keep(data: bytes) -> None:
            out.extend(data[: MAX_OUTPUT + 1 - len(out)])

        def keep_end(data: bytes) -> None:
            err.extend(data)
            del err[:-_MAX_ERROR]

        config = [part for item in (*self._config, *command.config) for part in ("-c", item)]
        code = process.run(
            ["git", *config, *command.arguments],
            token=self._token,
            env=self._environment(command),
            cwd=where,
            output=sink or keep,
            errors=keep_end,
        )
        if code and not (code == 1 and command.takes_missing):
            raise self._failure(command, code, err.decode(errors="replace").strip())
        if len(out) > MAX_OUTPUT:
            raise BuildFailure(
                Reason.GIT_FAILED, f"git {command.arguments[0]} wrote over {MAX_OUTPUT} bytes"
            )
        return "" if code else out.decode(errors="replace")

    def _failure(self, command: Command, code: int, stderr: str) -> BuildFailure:
        name = command.arguments[0]
        # Without the URL: a repository may be called "proxy" or "ssl".
        words = stderr.replace(command.url, "URL")
        reason, sentence = classify(words)
        if not command.asks_server and reason is not Reason.DISK_FULL:
            # "No such file" is said of a repository that is not there, but also of an object.
            reason, sentence = Reason.GIT_FAILED, "git failed"
        if reason is Reason.GIT_HOST_KEY_FAILED:
            sentence = f"{sentence} (`{_keyscan(command.url)}` prints what the server shows)"
        if reason is not Reason.GIT_REF_NOT_FOUND and name != "rev-parse":
            self.log.line(stderr or f"git {name} ended with {code}")
        detail = telling_line(stderr) or f"exit code {code}"
        return BuildFailure(reason, f"{sentence}: {detail}", transient=is_transient(reason, words))

    def _environment(self, command: Command) -> dict[str, str]:
        skip = {} if command.reads_lfs else {"GIT_LFS_SKIP_SMUDGE": "1"}
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._home),
            "LC_ALL": "C",
            "GIT_ALLOW_PROTOCOL": ":".join(self.protocols),
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            **skip,
            **self.credentials.environment(command.url),
            **network_settings(),
        }


def _keyscan(url: str) -> str:
    origin = Origin.of(url)
    port = "" if origin.is_standard else f"-p {origin.port} "
    return f"ssh-keyscan {port}{origin.host}"


def listing(found: Callable[[str], None]) -> process.Output:
    """A sink for output whose entries end with NUL; `found` gets each, however many there are."""
    rest = bytearray()

    def sink(data: bytes) -> None:
        rest.extend(data)
        *entries, last = rest.split(b"\0")
        rest[:] = last
        for entry in entries:
            found(os.fsdecode(bytes(entry)))

    return sink
