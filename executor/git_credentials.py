"""Who the build is to each git server, and to nobody else: for git, ssh and git-lfs.

A password is for one scheme, host and port, a key for one host and port. Secrets are in files on
the workspace's tmpfs only; argv and environment hold paths to them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from builder_framework.recipe import GitLogin, GitSource
from executor.workspace import Workspace

PORTS = {"https": 443, "http": 80, "ssh": 22}

#: Without a user's own lines, the operator's: part of the executor image, if at all.
KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")

# Without a key of the request's own, those of the executor image count.
_SSH = (
    *("ssh", "-F", "/dev/null"),
    "-oBatchMode=yes",
    "-oStrictHostKeyChecking=yes",
    "-oGlobalKnownHostsFile=/dev/null",
    "-oUpdateHostKeys=no",
    "-oIdentityAgent=none",
    "-oForwardAgent=no",
    "-oClearAllForwardings=yes",
    "-oConnectTimeout=30",
    # A server that is silent for a minute is dead.
    "-oServerAliveInterval=15",
    "-oServerAliveCountMax=4",
)

# git asks `Password for 'https://user@host': ` as the only argument, git-lfs `Password for
# "https://user@host"`. Only servers that are listed get answers. The script holds no secret: it
# lies on a disk, the secrets in memory. It counts the questions of one command, because git-lfs
# asks for ever when the answer is wrong.
_ASKPASS = """#!/bin/sh
echo >> "$BUILDER_GIT_ASKED"
[ "$(wc -l < "$BUILDER_GIT_ASKED")" -le {most} ] || exit 1
case "$1" in
{cases}
*) exit 1 ;;
esac
"""


MAX_QUESTIONS = 20
"""Of one command. git asks two, git-lfs two for each server, and again after a refusal."""


class Origin(NamedTuple):
    """Where a URL leads: what has to be equal for two URLs to mean one server."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Of a URL that `validate.git_url` lets through; `user@host:path` is ssh."""
        if "://" not in url:
            return cls("ssh", url.partition(":")[0].rpartition("@")[2].lower(), PORTS["ssh"])
        parts = urlsplit(url)
        host, _, port = parts.netloc.rpartition("@")[2].partition(":")
        number = int(port) if port.isdecimal() else PORTS.get(parts.scheme, 0)
        return cls(parts.scheme, host.lower(), number)

    @property
    def is_standard(self) -> bool:
        """Whether the port is the scheme's own, which URLs leave out."""
        return PORTS.get(self.scheme) == self.port

    def is_same_server(self, other: Origin) -> bool:
        """The same host and port; or the same host on the schemes' own ports."""
        both_standard = self.is_standard and other.is_standard
        return self.host == other.host and (self.port == other.port or both_standard)

    def names(self) -> tuple[str, ...]:
        """`host` and `host:port` as URLs may have it."""
        full = f"{self.host}:{self.port}"
        return (self.host, full) if self.is_standard else (full,)


class _Login(NamedTuple):
    """A login with the servers that it is for, and where its secrets are."""

    origins: tuple[Origin, ...]
    stem: str
    has_password: bool
    has_key: bool


class GitCredentials:
    """The environment in which git may talk to a server.

    Writes the secrets of `source` and a script that hands them out. `source.url` and the logins'
    hosts have passed `validate`.
    """

    def __init__(self, source: GitSource, space: Workspace) -> None:
        self._space = space
        own = GitLogin("", source.username, source.password, source.ssh_key)
        # The repository's own login first: it is the one meant for that server.
        self._logins = [self._keep("git", own, (Origin.of(source.url),))]
        for number, login in enumerate(source.logins):
            self._logins.append(self._keep(f"git-{number}", login, _origins(login.host)))
        self._known_hosts = KNOWN_HOSTS
        if source.known_hosts is not None:
            self._known_hosts = space.root / "known_hosts"
            self._known_hosts.write_text(source.known_hosts, encoding="utf-8")
        self._askpass = self._write_askpass()
        self._asked = space.root / "asked"

    def knows(self, url: str) -> bool:
        """Whether one of the request's `logins` is for this URL's server."""
        origin = Origin.of(url)
        # Not the repository's own: a submodule of elsewhere has no business there.
        return any(origin in login.origins for login in self._logins[1:])

    def environment(self, url: str) -> dict[str, str]:
        """Variables for one git command that talks to the server of `url`."""
        self._asked.write_bytes(b"")
        origin = Origin.of(url)
        ssh = [*_SSH, f"-oUserKnownHostsFile={self._known_hosts}"]
        for login in self._logins:
            if login.has_key and origin in login.origins:
                ssh += ["-oIdentitiesOnly=yes", "-i", str(self._file(login, "key"))]
                break
        return {
            "GIT_SSH_COMMAND": shlex.join(ssh),
            "GIT_SSH_VARIANT": "ssh",
            "GIT_ASKPASS": str(self._askpass),
            "BUILDER_GIT_SECRETS": str(self._space.secrets),
            "BUILDER_GIT_ASKED": str(self._asked),
        }

    def _keep(self, stem: str, login: GitLogin, origins: tuple[Origin, ...]) -> _Login:
        space = self._space
        if login.password is not None:
            # Some hosts take a token as the password of any user; an empty name is refused.
            space.secret_file(f"{stem}-username", login.username or "git")
            space.secret_file(f"{stem}-password", login.password.reveal())
        if login.ssh_key is not None:
            space.secret_file(f"{stem}-key", login.ssh_key.reveal())
        return _Login(origins, stem, login.password is not None, login.ssh_key is not None)

    def _file(self, login: _Login, what: str) -> Path:
        return self._space.secrets / f"{login.stem}-{what}"

    def _write_askpass(self) -> Path:
        cases = [
            case
            for login in self._logins
            if login.has_password
            for origin in login.origins
            if origin.scheme in ("https", "http")
            for case in _cases(origin, login.stem)
        ]
        script = self._space.root / "askpass"
        script.write_text(_ASKPASS.format(most=MAX_QUESTIONS, cases="\n".join(cases)))
        script.chmod(0o700)
        return script


def _origins(host: str) -> tuple[Origin, ...]:
    """What a login's `host[:port]` is for. Only with a port may it be http: that is in clear."""
    name, _, port = host.partition(":")
    if not port:
        return tuple(Origin(scheme, name, PORTS[scheme]) for scheme in ("https", "ssh"))
    return tuple(Origin(scheme, name, int(port)) for scheme in PORTS)


def _cases(origin: Origin, stem: str) -> Iterator[str]:
    """The script's lines for one server: its prompts, and the file with the answer."""
    for quote in ("'", '"'):
        for name in origin.names():
            server = f"{origin.scheme}://{name}{quote}"
            user = shlex.quote(f"Username for {quote}{server}")
            yield f'{user}*) exec cat "$BUILDER_GIT_SECRETS/{stem}-username" ;;'
            # git percent-encodes the user: an `@` or `/` in the prompt is not the user's.
            begin = shlex.quote(f"Password for {quote}{origin.scheme}://")
            end = shlex.quote(f"@{name}{quote}")
            whole = shlex.quote(f"Password for {quote}{server}")
            answer = f'exec cat "$BUILDER_GIT_SECRETS/{stem}-password" ;;'
            yield f"{begin}*[/@]*{end}*) exit 1 ;;"
            yield f"{begin}*{end}* | {whole}*) {answer}"
