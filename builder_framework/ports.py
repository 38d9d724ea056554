"""The door between people and the framework: what the API may ask of the service.

`service.BuildService` implements `Builds`; the API is written against this protocol only.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Protocol

from builder_framework.domain.delivery import Delivery, Try
from builder_framework.domain.deployment import Deployment
from builder_framework.domain.model import Build, BuildRequest, Resources
from builder_framework.domain.scheduling import Mode, Scheduling
from builder_framework.domain.states import State
from builder_framework.domain.targets import Target
from builder_framework.protocol import EngineMode, Reason
from builder_framework.recipe import UploadSource


class Permission(str, enum.Enum):
    """Whether something may be had: never, by those who ask for it, or by everybody unasked."""

    OFF = "off"
    REQUEST = "request"
    ON = "on"


class CacheSharing(str, enum.Enum):
    """Which builds trust each other with their caches: an owner's, of one repository, or all."""

    OWNER = "owner"
    REPOSITORY = "repository"
    ALL = "all"


@dataclass(frozen=True)
class RequestPolicy:
    """What the operator allows and assumes. Durations in seconds, memory and disk in MiB.

    `webhook_hosts`: where builds may have webhooks, see `endpoints.parse_rule`. `targets`: what
    they may name in `notify`.
    `repository_programs`: hooks and tests. `registry_cache`: of builds that do not say. `engines`:
    what a build may have, the one it gets unasked first; likewise `networks`, of executors.
    `uploads`: whether executors could fetch them. `marathon`: whether there is one to deploy to;
    `marathon_apps`: beginnings of ids of the apps of it that all builds may deploy to.
    """

    git_protocols: tuple[str, ...] = ("https", "ssh")
    default_timeout: float = 3600.0
    max_timeout: float = 6 * 3600.0
    default_queue_ttl: float = 24 * 3600.0
    max_queue_ttl: float = 7 * 24 * 3600.0
    default_resources: Resources = field(default_factory=lambda: Resources(1.0, 2048.0, 0.0))
    max_resources: Resources = field(
        default_factory=lambda: Resources(256.0, 1024.0 * 1024.0, 16 * 1024.0 * 1024.0)
    )
    default_max_attempts: int = 3
    webhook_hosts: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()
    repository_programs: Permission = Permission.OFF
    registry_cache: bool = False
    staging_tag: str = "builder-staging"
    engines: tuple[EngineMode, ...] = (EngineMode.NESTED,)
    networks: tuple[str, ...] = ("BRIDGE",)
    uploads: bool = False
    upload_max_mb: int = 256
    marathon: bool = False
    marathon_apps: tuple[str, ...] = ()
    marathon_max_timeout: float = 3600.0


@dataclass(frozen=True)
class Idempotency:
    """An `Idempotency-Key` header and a digest of the body that came with it."""

    key: str
    fingerprint: str


@dataclass(frozen=True)
class Refusal:
    """Why offers did not fit a build: a reason and the number of agents it holds for."""

    reason: str
    agents: int


@dataclass(frozen=True)
class Waiting:
    """Why a queued build waits. `position` counts from 1; `message` is a sentence for people."""

    position: int
    message: str
    refusals: tuple[Refusal, ...] = ()
    agents_seen: int = 0
    last_offer_at: float | None = None


@dataclass(frozen=True)
class BuildView:
    """A build as it is now, with what is only known while it waits, and the extent of its log.

    `deployment`: what becomes of its image, once there is one that somebody wants deployed.
    """

    build: Build
    waiting: Waiting | None
    log_size: int
    deployment: Deployment | None = None

    @property
    def log_complete(self) -> bool:
        """Whether the log will not grow any more."""
        return self.build.terminal and self.build.log_complete


@dataclass(frozen=True)
class DeliveryView:
    """One webhook and the tries that were made to deliver it, oldest first."""

    delivery: Delivery
    tries: tuple[Try, ...] = ()


@dataclass(frozen=True)
class ListQuery:
    """Filters of a listing, newest first. `image` and `git_url` match exactly (image: any).

    `visible`: the projects that may be seen; None: all builds. `search`: beginnings of words that
    a build must have (`domain.words.parse`).
    """

    states: tuple[State, ...] = ()
    image: str | None = None
    git_url: str | None = None
    owner: str | None = None
    label: tuple[str, str] | None = None
    project: str | None = None
    visible: tuple[str, ...] | None = None
    search: tuple[str, ...] = ()
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True)
class Page:
    """One page of a listing; `next_cursor` is None on the last one.

    Any other page may have fewer builds than asked for, even none: one request looks at a limited
    number of them.
    """

    builds: tuple[BuildView, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class QueuePage:
    """The first builds that wait, in the order in which they are placed; `total`: how many do."""

    builds: tuple[BuildView, ...]
    total: int


@dataclass(frozen=True)
class BuildRefusal:
    """Why an agent was not used: a reason and the number of builds it holds for."""

    reason: str
    builds: int


@dataclass(frozen=True)
class LastOffer:
    """What an agent had to give when it was last offered, and what became of that.

    `attributes`: name to text. `unavailable_from`: start of a maintenance window, in seconds since
    the epoch. `used`: whether a build was placed; if not, `refusals` say why, or nothing waited.
    """

    at: float
    resources: Resources
    attributes: Mapping[str, str] = field(default_factory=dict)
    unavailable_from: float | None = None
    used: bool = False
    refusals: tuple[BuildRefusal, ...] = ()


@dataclass(frozen=True)
class ExecutorView:
    """An executor that is there. `running`: ids of builds; `idle_since` counts without any.

    `served`: how many builds it was given by this process. `open`: whether it takes further ones.
    """

    id: str
    running: tuple[str, ...]
    idle_since: float | None
    served: int
    open: bool


@dataclass(frozen=True)
class AgentFailure:
    """An attempt that failed and speaks against its agent."""

    at: float
    build_id: str
    reason: Reason


@dataclass(frozen=True)
class AgentView:
    """An agent as the framework knows it.

    `builds`: those whose newest attempt is there. `offer`: None when there was none since this
    process leads. `warm`: the number of sources whose caches are warmest there. `failures`: the
    last ones since a build succeeded there; enough of them within some time, and it is avoided
    (`avoided_until`).
    """

    id: str
    hostname: str
    url: str
    builds: tuple[Build, ...] = ()
    offer: LastOffer | None = None
    executors: tuple[ExecutorView, ...] = ()
    warm: int = 0
    failures: tuple[AgentFailure, ...] = ()
    avoided_until: float | None = None


@dataclass(frozen=True)
class AgentsView:
    """All agents that are known, by hostname. `slots`: builds that each may have at once; None
    when this process cannot know. `message`: what speaks against this being all, for people.
    """

    agents: tuple[AgentView, ...]
    slots: int | None
    message: str | None = None


@dataclass(frozen=True)
class Readiness:
    """Whether the framework can do its work; `checks` names each part's state for people."""

    ready: bool
    checks: dict[str, str]


class Watch(Protocol):
    """A subscription to one build's changes (state, phase, log growth). Use it with `with`."""

    def wait(self, timeout: float) -> bool:
        """Block up to `timeout` seconds; whether something changed since the last call."""
        ...

    def __enter__(self) -> Watch: ...  # noqa: PYI034 (Self needs Python 3.11)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Uploads(Protocol):
    """Build contexts that came with requests. All calls may raise StoreUnavailableError."""

    def keep(self, content: IO[bytes], owner: str) -> UploadSource:
        """Store it durably, read to its end; a build has to be accepted for it soon."""
        ...

    def read(self, upload_id: str, token: str) -> Iterator[bytes]:
        """Its bytes. Raises NotFoundError, also when the token is another one's."""
        ...


class Forgotten(Protocol):
    """Tasks of Eremetic's clients that were deleted. All calls may raise StoreUnavailableError."""

    def forget(self, build_id: str) -> None:
        """From now on the build is no task any more; it is one of ours all the same."""
        ...

    def among(self, build_ids: Collection[str]) -> frozenset[str]:
        """Those that were deleted."""
        ...


@dataclass(frozen=True)
class Eremetic:
    """The API of Eremetic. `builders`: images whose tasks mean a build; any tag of them counts.
    `tasks`: whether those of other images are run.
    """

    builders: tuple[str, ...]
    forgotten: Forgotten
    tasks: bool = False


class Builds(Protocol):
    """The service as the API sees it. All calls may raise StoreUnavailableError."""

    def submit(
        self, request: BuildRequest, owner: str, idempotency: Idempotency | None = None
    ) -> tuple[BuildView, bool]:
        """Accept a build durably. The flag is False when the key had made this build already.

        Raises ConflictError when the key was used with another body.
        """
        ...

    def replayed(self, owner: str, idempotency: Idempotency) -> BuildView | None:
        """The build that the key has made already. Raises ConflictError as `submit` does."""
        ...

    def get(self, build_id: str) -> BuildView:
        """Raises NotFoundError."""
        ...

    def list(self, query: ListQuery) -> Page:
        """Raises InvalidInputError for a cursor that this store did not make."""
        ...

    def queue(self, limit: int, visible: tuple[str, ...] | None = None) -> QueuePage:
        """The first `limit` builds that wait, and why. `visible`: see `ListQuery`; positions
        count all builds.
        """
        ...

    def agents(self) -> AgentsView:
        """The agents, as whoever answers knows them."""
        ...

    def cancel(self, build_id: str, by: str) -> BuildView:
        """Ask a build to end. Raises NotFoundError, ConflictError when it is over already."""
        ...

    def attend(self, build_id: str) -> None:
        """Somebody follows the build, which ends if nobody does (`BuildRequest.attended`)."""
        ...

    def deliveries(self, build_id: str) -> tuple[DeliveryView, ...]:
        """The webhooks of a build, in order of its events. Raises NotFoundError."""
        ...

    def redeliver(self, build_id: str, delivery_id: str) -> DeliveryView:
        """Send a webhook again, delivered or given up. Raises NotFoundError."""
        ...

    def read_log(self, build_id: str, offset: int, limit: int) -> bytes:
        """At most `limit` bytes of the log from `offset`. Raises NotFoundError."""
        ...

    def watch(self, build_id: str) -> Watch:
        """Be woken when the build or its log changes."""
        ...

    def readiness(self) -> Readiness:
        """Never raises."""
        ...


class Scheduler(Protocol):
    """Whether builds are started. All calls may raise StoreUnavailableError."""

    def look(self) -> Scheduling:
        """As it was said last, in whatever process."""
        ...

    def turn(self, mode: Mode, by: str) -> Scheduling:
        """Say it, durably. Holds at once where this process leads, else within a second."""
        ...

    def on_agents(self) -> int:
        """How many builds may have a task."""
        ...
