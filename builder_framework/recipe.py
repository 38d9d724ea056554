"""What is built from what: values that API, database, wire and executor share. Pure, stdlib only.

Each has passed `validate`; the executor checks them again, because they came over the network.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from builder_framework.redact import Secret
from builder_framework.validate import image_reference


class RunNetwork(str, enum.Enum):
    """What RUN instructions see of the network; `host` is the executor's own."""

    DEFAULT = "default"
    NONE = "none"
    HOST = "host"


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
class TarballSource:
    """A tar archive at a URL: plain, gzip, bzip2 or xz.

    `sha256`: what it must be, in hex. `strip_components`: leading parts of names that are cut off.
    `query`: what follows the `?`, which may be a signature; `address` has both.
    """

    url: str
    username: str | None = None
    password: Secret | None = None
    sha256: str | None = None
    strip_components: int = 0
    query: Secret | None = None

    @classmethod
    def at(cls, address: str) -> TarballSource:
        """An archive without anything but its address."""
        url, _, query = address.partition("?")
        return cls(url, query=Secret(query) if query else None)

    @property
    def address(self) -> str:
        """What is asked for."""
        return self.url if self.query is None else f"{self.url}?{self.query.reveal()}"

    def secrets(self) -> Iterator[Secret | None]:
        """Every credential."""
        yield self.password
        yield self.query


@dataclass(frozen=True)
class InlineSource:
    """A Dockerfile and nothing else."""

    dockerfile: str


@dataclass(frozen=True)
class UploadSource:
    """A tar archive that came with the request, and waits at the framework.

    `sha256`: of the archive, in hex; `size` in bytes. `token`: what an executor fetches it with.
    `url`: where, which only the executor is told.
    """

    id: str
    sha256: str
    size: int
    token: Secret
    url: str = ""

    def secrets(self) -> Iterator[Secret | None]:
        """Every credential."""
        yield self.token


@dataclass(frozen=True)
class TaskSource:
    """No build at all: a program that runs in a container of this image.

    `command`: for a shell, in place of the image's own program, which is given `args` otherwise.
    `masked_env`: variables that are secret. `socket`: where the container finds the engine that it
    runs in. `dns`: name servers' addresses. `pull`: ask the registry even if the image is there.
    """

    image: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    masked_env: Mapping[str, Secret] = field(default_factory=dict)
    privileged: bool = False
    socket: str | None = None
    network: RunNetwork = RunNetwork.DEFAULT
    dns: tuple[str, ...] = ()
    pull: bool = False

    def secrets(self) -> Iterator[Secret | None]:
        """Every credential."""
        yield from self.masked_env.values()


AnySource = GitSource | TarballSource | InlineSource | UploadSource | TaskSource


@dataclass(frozen=True)
class Source:
    """Where the build context comes from: exactly one of these. Raises ValueError."""

    git: GitSource | None = None
    tarball: TarballSource | None = None
    inline: InlineSource | None = None
    upload: UploadSource | None = None
    task: TaskSource | None = None

    def __post_init__(self) -> None:
        """Nobody has to ask what none of them would mean."""
        if len(self._all()) != 1:
            raise ValueError("a source is exactly one of git, tarball, inline, upload and task")

    @property
    def given(self) -> AnySource:
        """The one that it is."""
        return self._all()[0]

    def _all(self) -> list[AnySource]:
        every = (self.git, self.tarball, self.inline, self.upload, self.task)
        return [one for one in every if one is not None]

    def origin(self, images: Sequence[str]) -> str:
        """What stays the same from build to build: a URL, or else the repository of the first of
        the `images` that come of it.
        """
        if self.git is not None:
            return self.git.url
        if self.tarball is not None:
            return self.tarball.url
        if self.task is not None:
            return f"task:{image_reference(self.task.image, allow_digest=True).name}"
        kind = "upload" if self.upload is not None else "inline"
        return f"{kind}:{image_reference(images[0]).name}"

    @property
    def ref(self) -> str | None:
        """What of it."""
        return self.git.ref if self.git is not None else None

    def secrets(self) -> Iterator[Secret | None]:
        """Every credential."""
        if not isinstance(self.given, InlineSource):
            yield from self.given.secrets()


class Provenance(str, enum.Enum):
    """How much of a SLSA provenance attestation is made (BuildKit's `mode`)."""

    NONE = "none"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True)
class Recipe:
    """How the image is built: the Dockerfile, and what it is given.

    `context`: directory of the source; `dockerfile`: a file of the context or the source.
    `secrets`: by the id of `RUN --mount=type=secret`; `ssh`: private keys by the id of
    `RUN --mount=type=ssh`. `pull`: ask registries for newer base images. `add_hosts`: addresses by
    name. `shm_size`: MiB of /dev/shm in RUN. `platforms`: such as `linux/arm64`; none means the
    engine's own. `hooks`, `tests`: whether programs of the repository run outside the Dockerfile.
    `cache_from`, `cache_to`: images that hold a build cache; `registry_cache`: one beside the first
    image, for both.
    """

    context: str = "."
    dockerfile: str = "Dockerfile"
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    ssh: Mapping[str, Secret] = field(default_factory=dict)
    no_cache: bool = False
    pull: bool = False
    add_hosts: Mapping[str, str] = field(default_factory=dict)
    shm_size: int | None = None
    network: RunNetwork = RunNetwork.DEFAULT
    platforms: tuple[str, ...] = ()
    hooks: bool = False
    tests: bool = False
    cache_from: tuple[str, ...] = ()
    cache_to: str | None = None
    registry_cache: bool = False

    def all_secrets(self) -> Iterator[Secret | None]:
        """Every value that must not be seen."""
        yield from self.secrets.values()
        yield from self.ssh.values()


@dataclass(frozen=True)
class Output:
    """What the image says of itself, beside its content.

    `standard_labels`: OCI's own labels and annotations, from source and base image. `timestamp`:
    what the image's times are set to: `source` (the commit's), `zero`, or seconds since the epoch;
    None leaves them. `sbom`, `provenance`: attestations beside the image.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    standard_labels: bool = True
    timestamp: str | None = None
    sbom: bool = False
    provenance: Provenance = Provenance.NONE


@dataclass(frozen=True)
class RegistryAuth:
    """A user of a registry and its password."""

    username: str
    password: Secret


class LoginUse(str, enum.Enum):
    """What a login is for: base images and caches, the push, or all of it."""

    PULL = "pull"
    PUSH = "push"
    ALL = "all"


@dataclass(frozen=True)
class RegistryLogin:
    """Who the build is to one registry (`host[:port]`)."""

    registry: str
    auth: RegistryAuth
    use: LoginUse = LoginUse.ALL


@dataclass(frozen=True)
class Logins:
    """Who the build is to each registry. A login for one use goes before one for all."""

    logins: tuple[RegistryLogin, ...] = ()

    def to_push(self, registry: str) -> RegistryAuth | None:
        """The login for pushing there."""
        return self._find(registry, LoginUse.PUSH)

    def to_pull(self) -> Mapping[str, RegistryAuth]:
        """Those for pulling, by registry."""
        registries = dict.fromkeys(login.registry for login in self.logins)
        found = {registry: self._find(registry, LoginUse.PULL) for registry in registries}
        return {registry: auth for registry, auth in found.items() if auth is not None}

    def secrets(self) -> Iterator[Secret | None]:
        """Every password."""
        for login in self.logins:
            yield login.auth.password

    def _find(self, registry: str, use: LoginUse) -> RegistryAuth | None:
        for wanted in (use, LoginUse.ALL):
            for login in self.logins:
                if login.registry == registry and login.use is wanted:
                    return login.auth
        return None
