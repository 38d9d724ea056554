"""What is built from what: values that API, database, wire and executor share. Pure, stdlib only.

Each has passed `validate`; the executor checks them again, because they came over the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from builder_framework.redact import Secret


@dataclass(frozen=True)
class GitLogin:
    """Who the build is to a git or LFS server that is not the repository's own.

    `host`: `name[:port]`; without a port the standard one of https or ssh, never that of http.
    `password` is for http(s), `ssh_key` (a private key's text) for ssh.
    """

    host: str
    username: str | None = None
    password: Secret | None = None
    ssh_key: Secret | None = None


@dataclass(frozen=True)
class GitSource:
    """A git repository at a ref: branch, tag or commit; None is the remote's HEAD.

    `ssh_key`: a private key's text. `known_hosts`: lines of such a file (sshd(8)); without them
    the executor image's own file counts. `depth`: commits of history, 0 is all of it. `logins`:
    for submodules and LFS on other servers. `keep_git_dir`: `.git` is in the build context.
    """

    url: str
    ref: str | None = None
    username: str | None = None
    password: Secret | None = None
    ssh_key: Secret | None = None
    known_hosts: str | None = None
    depth: int = 1
    submodules: bool = False
    lfs: bool = False
    keep_git_dir: bool = False
    logins: tuple[GitLogin, ...] = ()

    def secrets(self) -> Iterator[Secret | None]:
        """Every credential."""
        yield self.password
        yield self.ssh_key
        for login in self.logins:
            yield login.password
            yield login.ssh_key


@dataclass(frozen=True)
class Source:
    """Where the build context comes from: exactly one of these."""

    git: GitSource

    @property
    def url(self) -> str:
        """Where it is, for lists and links."""
        return self.git.url

    def secrets(self) -> Iterator[Secret | None]:
        """Every credential."""
        yield from self.git.secrets()


@dataclass(frozen=True)
class Recipe:
    """How the image is built: the Dockerfile, and what it is given.

    `context`: directory of the source; `dockerfile`: a file of the context or the source.
    """

    context: str = "."
    dockerfile: str = "Dockerfile"
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RegistryAuth:
    """Credentials for the registry of every image of the build."""

    username: str
    password: Secret
