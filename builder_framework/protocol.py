"""What framework and executor say to each other.

Down: one `BuildSpec` per task, in `TaskInfo.data` (that field shows up in no endpoint of master
or agent, unlike ExecutorInfo's data and environment). Up: a `Report` in each status update's
`data`, and the last one again as a file in the sandbox, because reconciliation erases `data`.

Both sides refuse another `VERSION` and unknown fields; change VERSION when a field changes.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from builder_framework import codec
from builder_framework.errors import ProtocolError
from builder_framework.recipe import Logins, Output, Recipe, Source
from builder_framework.redact import Secret

VERSION = 3

MAX_REPORT_BYTES = 64 * 1024
"""Status updates are checkpointed by agent and master; keep them small."""


class Phase(str, enum.Enum):
    """What a running build is doing, in this order."""

    STARTING = "STARTING"
    CLONING = "CLONING"
    BUILDING = "BUILDING"
    TESTING = "TESTING"
    PUSHING = "PUSHING"


class Outcome(str, enum.Enum):
    """How a task ended, as the executor saw it."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    KILLED = "KILLED"


class Reason(str, enum.Enum):
    """Why a build ended other than well: one taxonomy for programs. `message` is for people."""

    # Found by the executor.
    GIT_AUTH_FAILED = "git_auth_failed"
    GIT_REPOSITORY_NOT_FOUND = "git_repository_not_found"
    GIT_REF_NOT_FOUND = "git_ref_not_found"
    GIT_UNREACHABLE = "git_unreachable"
    GIT_HOST_KEY_FAILED = "git_host_key_failed"
    GIT_SUBMODULE_FAILED = "git_submodule_failed"
    GIT_LFS_FAILED = "git_lfs_failed"
    GIT_FAILED = "git_failed"
    TARBALL_FAILED = "tarball_failed"
    TARBALL_INVALID = "tarball_invalid"
    CONTEXT_INVALID = "context_invalid"
    DOCKERFILE_INVALID = "dockerfile_invalid"
    BASE_IMAGE_FAILED = "base_image_failed"
    STEP_FAILED = "step_failed"
    PLATFORM_UNSUPPORTED = "platform_unsupported"
    BUILD_FAILED = "build_failed"
    HOOK_FAILED = "hook_failed"
    TEST_FAILED = "test_failed"
    TASK_FAILED = "task_failed"
    PUSH_DENIED = "push_denied"
    PUSH_FAILED = "push_failed"
    ENGINE_FAILED = "engine_failed"
    DISK_FULL = "disk_full"
    DISK_EXCEEDED = "disk_exceeded"
    TIMEOUT = "timeout"
    INVALID_SPEC = "invalid_spec"
    EXECUTOR_ERROR = "executor_error"
    # Found by the framework.
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    UNATTENDED = "unattended"
    QUEUE_EXPIRED = "queue_expired"
    OFFER_LOST = "offer_lost"
    LAUNCH_FAILED = "launch_failed"
    LAUNCH_TIMEOUT = "launch_timeout"
    TASK_INVALID = "task_invalid"
    OUT_OF_MEMORY = "out_of_memory"
    EXECUTOR_LOST = "executor_lost"
    AGENT_LOST = "agent_lost"
    KILLED_BY_OPERATOR = "killed_by_operator"
    RESULT_LOST = "result_lost"


class EngineMode(str, enum.Enum):
    """Which Docker engine builds: one of the executor's own, with privilege or without, or the
    agent's through its socket.
    """

    NESTED = "nested"
    ROOTLESS = "rootless"
    SOCKET = "socket"


class CacheUse(str, enum.Enum):
    """Whether a build has the caches of its trust domain, or begins cold and leaves nothing."""

    SHARED = "shared"
    NONE = "none"


@dataclass(frozen=True)
class Dns:
    """How names are resolved, as Docker's options `dns`, `dns-search` and `dns-option` say it;
    without any, as in the executor's network.
    """

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineSpec:
    """How the executor gets its engine; set by the operator, never by a request.

    `cache_keep_mb`: MiB of build cache that may stay in an engine of the executor's own.
    `authorities`: PEM of certificate authorities that are trusted beside the system's, by engine,
    git and our own requests. `proxies`: `http_proxy`, `https_proxy`, `no_proxy`, for all of them
    and, as the predefined build arguments, for RUN. `sbom_generator`: image that makes SBOMs, if
    not BuildKit's own choice. `dns`: of the executor and of RUN. `disk_floor_mb`: MiB of the cache
    volume's disk that shall stay free, at most; see `executor.disk`.
    """

    mode: EngineMode = EngineMode.NESTED
    insecure_registries: tuple[str, ...] = ()
    registry_mirrors: tuple[str, ...] = ()
    cache_keep_mb: int = 20480
    authorities: str | None = None
    proxies: Mapping[str, Secret] = field(default_factory=dict)
    sbom_generator: str | None = None
    dns: Dns = field(default_factory=Dns)
    disk_floor_mb: int = 1024

    def secrets(self) -> Iterator[Secret]:
        """The passwords in the URLs of proxies."""
        for url in self.proxies.values():
            password = urlsplit(url.reveal()).password
            if password is not None:
                yield Secret(unquote(password))


@dataclass(frozen=True)
class BuildSpec:
    """Everything an executor needs for one attempt. `timeout` in seconds, from its first phase.

    `git_protocols`: the URL schemes the operator allows, checked again by the executor.
    `images`: full references, each to be pushed. `staging_tag`: the tag of
    `images[0]`'s repository under which the image is pushed before it may have its real tags.
    `pinned`: the manifest digest that an earlier attempt was about to publish; if the registry has
    it, this attempt publishes that one and builds nothing. `cache_domain`: builds with the same one
    trust each other with their caches. `disk`: MiB that it may write, 0 for any number.
    """

    build_id: str
    attempt: int
    source: Source
    images: tuple[str, ...]
    timeout: float
    recipe: Recipe = field(default_factory=Recipe)
    output: Output = field(default_factory=Output)
    logins: Logins = field(default_factory=Logins)
    engine: EngineSpec = field(default_factory=EngineSpec)
    git_protocols: tuple[str, ...] = ("https", "ssh")
    staging_tag: str = "builder-staging"
    pinned: str | None = None
    cache_domain: str = "all"
    disk: float = 0.0
    cache: CacheUse = CacheUse.SHARED
    version: int = VERSION

    def secrets(self) -> tuple[Secret, ...]:
        """Every secret of this build, for a Redactor."""
        found = (
            *self.source.secrets(),
            *self.recipe.all_secrets(),
            *self.logins.secrets(),
            *self.engine.secrets(),
        )
        return tuple(secret for secret in found if secret is not None)


@dataclass(frozen=True)
class PushedImage:
    """One pushed reference (`registry/name:tag`) and the manifest digest it got (`sha256:…`)."""

    name: str
    digest: str


@dataclass(frozen=True)
class Steps:
    """A build's instructions after the FROMs: how many, and how many of them the cache had."""

    total: int
    cached: int


@dataclass(frozen=True)
class FailedStep:
    """The instruction that failed; its line in the Dockerfile, and its command's exit code."""

    name: str
    line: int | None = None
    exit_code: int | None = None


@dataclass(frozen=True)
class Report:
    """What the executor says in a status update.

    While running: `phase` has begun. At the end: `outcome` with all that is known. `timings` maps
    a phase's name (lower case) or `total` to seconds; `size` is the image's in bytes. `transient`:
    the failure lay in the surroundings (a server answered 503, the engine died), not in the build;
    another attempt may succeed.
    """

    phase: Phase | None = None
    outcome: Outcome | None = None
    reason: Reason | None = None
    message: str | None = None
    commit: str | None = None
    source_digest: str | None = None
    images: tuple[PushedImage, ...] = ()
    digest: str | None = None
    size: int | None = None
    layers: int | None = None
    steps: Steps | None = None
    failed_step: FailedStep | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    transient: bool = False
    version: int = VERSION


@dataclass(frozen=True)
class LeaseRequest:
    """Executor to framework, as a framework message: may this attempt publish `digest` now?

    Asked before the first final tag is put, and again whenever the lease would run out. The
    message may get lost, so it is repeated until `LeaseAnswer` comes with the same `nonce`.
    `replaces`: a pinned digest (`BuildSpec.pinned`) that the registry no longer has.
    """

    task_id: str
    nonce: str
    digest: str
    replaces: str | None = None
    version: int = VERSION


@dataclass(frozen=True)
class LeaseAnswer:
    """Framework to executor. `seconds`: how long the lease holds, counted by the executor from
    the moment it began to ask, so that its lease ends before the framework's does.

    Not granted: the attempt must publish nothing and end; `message` says why.
    """

    task_id: str
    nonce: str
    granted: bool
    seconds: float = 0.0
    message: str = ""
    version: int = VERSION


def encode_spec(spec: BuildSpec) -> bytes:
    """The content of `TaskInfo.data`."""
    return codec.encode(spec)


def decode_spec(data: bytes) -> BuildSpec:
    """Raises ProtocolError when it is not a spec of this version."""
    return _checked(codec.decode(BuildSpec, data))


def encode_report(report: Report) -> bytes:
    """The content of `TaskStatus.data` and of the result file in the sandbox."""
    return codec.encode(report)


def decode_report(data: bytes) -> Report:
    """Raises ProtocolError when it is not a report of this version."""
    return _checked(codec.decode(Report, data))


def encode_lease(message: LeaseRequest | LeaseAnswer) -> bytes:
    """The content of a framework message."""
    return codec.encode(message)


def decode_lease_request(data: bytes) -> LeaseRequest:
    """Raises ProtocolError when it is not a lease request of this version."""
    return _checked(codec.decode(LeaseRequest, data))


def decode_lease_answer(data: bytes) -> LeaseAnswer:
    """Raises ProtocolError when it is not a lease answer of this version."""
    return _checked(codec.decode(LeaseAnswer, data))


def _checked(message: codec.T) -> codec.T:
    version = getattr(message, "version", None)
    if version != VERSION:
        raise ProtocolError(
            f"protocol version {version}, this side speaks {VERSION}: "
            "use the executor image that belongs to this framework"
        )
    return message


def log_file_name(task_id: str) -> str:
    """The build's log in the executor's sandbox."""
    return f"{task_id}.log"


def result_file_name(task_id: str) -> str:
    """The last Report, in the executor's sandbox: there before the terminal update is sent."""
    return f"{task_id}.result.json"
