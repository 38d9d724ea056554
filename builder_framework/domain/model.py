"""The values everything else is about: requests, builds, attempts, resources; and their ids.

Times are seconds since the epoch (UTC), durations seconds, memory and disk MiB, as Mesos has them.
"""

from __future__ import annotations

import enum
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from builder_framework.domain.apps import MarathonDeploy
from builder_framework.domain.states import TERMINAL, State
from builder_framework.domain.tasks import TaskRequest
from builder_framework.errors import InvalidValueError
from builder_framework.protocol import (
    CacheUse,
    EngineMode,
    FailedStep,
    Phase,
    PushedImage,
    Reason,
    Steps,
)
from builder_framework.recipe import (
    Logins,
    LoginUse,
    Output,
    Recipe,
    RegistryAuth,
    RegistryLogin,
    Source,
)
from builder_framework.redact import Redactor, Secret
from builder_framework.validate import image_reference

# Crockford's base32: no letters that look like digits, and safe in URLs, shells, image tags and
# Mesos ids (which refuse `/`, `\`, control characters, `.` and `..`: common/validation.cpp).
ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_LENGTH = 16
BUILD_ID_PATTERN = f"[{ID_ALPHABET}]{{{_ID_LENGTH}}}"
_BUILD_ID = re.compile(BUILD_ID_PATTERN)
_TASK_ID = re.compile(rf"(?P<build>{_BUILD_ID.pattern})\.(?P<attempt>[1-9][0-9]{{0,5}})")


def new_build_id() -> str:
    """A fresh id with 80 random bits."""
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(_ID_LENGTH))


def is_build_id(text: str) -> bool:
    """Whether `text` could have come from `new_build_id`."""
    return _BUILD_ID.fullmatch(text) is not None


def task_id(build_id: str, attempt: int) -> str:
    """The Mesos task id of an attempt: never used twice, because attempts only count up."""
    return f"{build_id}.{attempt}"


def parse_task_id(text: str) -> tuple[str, int]:
    """(build id, attempt number). Raises InvalidValueError for ids that are not ours."""
    match = _TASK_ID.fullmatch(text)
    if match is None:
        raise InvalidValueError(f"{text!r} is not a task id of this framework")
    return match["build"], int(match["attempt"])


@dataclass(frozen=True)
class Resources:
    """An amount of an agent's scalars: cpus (shares of a core), mem and disk in MiB."""

    cpus: float = 0.0
    mem: float = 0.0
    disk: float = 0.0

    def __add__(self, other: Resources) -> Resources:
        return Resources(self.cpus + other.cpus, self.mem + other.mem, self.disk + other.disk)

    def __sub__(self, other: Resources) -> Resources:
        return Resources(self.cpus - other.cpus, self.mem - other.mem, self.disk - other.disk)


@dataclass(frozen=True)
class Constraint:
    """A Marathon-style condition on an agent attribute (or `hostname`); see `offers.satisfies`."""

    attribute: str
    operator: str
    value: str


class Supersede(str, enum.Enum):
    """Which older builds of its group a build ends: none, those that wait, or running ones, too."""

    NONE = "none"
    QUEUED = "queued"
    RUNNING = "running"


class Dedupe(str, enum.Enum):
    """Which other build of the same image may be given instead of a new one: none, one that is not
    over, or one that has succeeded lately, too."""

    OFF = "off"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(frozen=True)
class NotifyRequest:
    """That one of the operator's targets is told of a build (`domain.targets`).

    `events` and `outcomes` by the names of `targets.EVENTS` and `targets.OUTCOMES`; none: as the
    operator has it.
    """

    target: str
    channel: str | None = None
    events: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildRequest:
    """What somebody asked for, already validated; defaults are filled in.

    `timeout` counts from the start of the task, `queue_ttl` from the acceptance of the request.
    A higher `priority` goes first. `max_attempts`: how often the build may be started when the
    surroundings fail it. `webhooks`: URLs that are told of this build's changes; as a rule their
    paths are tokens. `group`: see `domain.supersede`. `engine`: another one than the operator's
    choice, and `executor_network` another network. `exclusive`: the build shares its executor with
    no other. `project_secrets`: names of the project's secrets, by the id of their mount.
    `attended`: seconds after which the build ends if nobody follows it (`service.attendance`).
    `notify`: targets of the operator that are told of it. `task`: what a client of Eremetic asked
    for, when it was one. `deploy`: where the image goes after its build.
    """

    source: Source
    images: tuple[str, ...]
    timeout: float
    queue_ttl: float
    resources: Resources
    recipe: Recipe = field(default_factory=Recipe)
    output: Output = field(default_factory=Output)
    registry_auth: RegistryAuth | None = None
    registries: tuple[RegistryLogin, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    priority: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    max_attempts: int = 3
    webhooks: tuple[Secret, ...] = ()
    supersede: Supersede = Supersede.NONE
    group: str | None = None
    dedupe: Dedupe = Dedupe.OFF
    engine: EngineMode | None = None
    exclusive: bool = False
    cache: CacheUse = CacheUse.SHARED
    executor_network: str | None = None
    project: str | None = None
    project_secrets: Mapping[str, str] = field(default_factory=dict)
    attended: float | None = None
    notify: tuple[NotifyRequest, ...] = ()
    task: TaskRequest | None = None
    deploy: MarathonDeploy | None = None

    @property
    def origin(self) -> str:
        """Where the source is, as far as it stays the same from build to build."""
        return self.source.origin(self.images)

    @property
    def titles(self) -> tuple[str, ...]:
        """What people know it by: its images, or the one whose program runs."""
        task = self.source.task
        return self.images if task is None else (task.image,)

    def logins(self) -> Logins:
        """Who it is to each registry: `registry_auth` where nothing else was said."""
        if self.registry_auth is None:
            return Logins(self.registries)
        told = {login.registry for login in self.registries if login.use is not LoginUse.PULL}
        images = dict.fromkeys(image_reference(image).registry for image in self.images)
        others = (RegistryLogin(name, self.registry_auth) for name in images if name not in told)
        return Logins((*self.registries, *others))

    def redactor(self) -> Redactor:
        """Masks this request's secrets."""
        return Redactor(
            [*self.source.secrets(), *self.recipe.all_secrets(), *self.logins().secrets()]
        )


@dataclass(frozen=True)
class Placement:
    """Where an attempt runs.

    `agent_url`: `http://ip:port` of the agent. `slot`: number of the agent's cache volume that the
    attempt holds while it is not over.
    """

    agent_id: str
    hostname: str
    agent_url: str
    slot: int
    executor_id: str
    framework_id: str


@dataclass(frozen=True)
class Attempt:
    """One try at a build: one Mesos task. `log_offset`: where its log begins in the build's log.

    `digest`: the manifest it was allowed to publish; `lease_until`: when that permission ends.
    """

    number: int
    task_id: str
    placement: Placement
    placed_at: float
    running_at: float | None = None
    ended_at: float | None = None
    reason: Reason | None = None
    message: str | None = None
    log_offset: int | None = None
    digest: str | None = None
    lease_until: float | None = None

    @property
    def live(self) -> bool:
        """Whether its task may still run."""
        return self.ended_at is None


@dataclass(frozen=True)
class Result:
    """What a successful build made; parts of it are known earlier (the commit) or on failure.

    `source_digest`: of an archive that was built instead of a commit.
    """

    commit: str | None = None
    source_digest: str | None = None
    digest: str | None = None
    images: tuple[PushedImage, ...] = ()
    size: int | None = None
    layers: int | None = None
    steps: Steps | None = None
    failed_step: FailedStep | None = None
    timings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Stop:
    """A build that must end, and as what once its task is gone."""

    state: State
    reason: Reason
    message: str
    requested_at: float
    kills: int = 0
    killed_at: float = 0.0


@dataclass(frozen=True)
class Build:
    """One accepted request and its whole story. Only `machine.step` makes the next one.

    `version` counts changes, for the store's compare-and-set. `not_before`: do not place earlier.
    `failures`: attempts that the surroundings failed; see `retry`. `supersedes`: ids of the builds
    that ended with the acceptance of this one. `joined`: how often it was asked for again.
    """

    id: str
    request: BuildRequest
    owner: str
    created_at: float
    state: State = State.QUEUED
    phase: Phase | None = None
    reason: Reason | None = None
    message: str | None = None
    attempts: tuple[Attempt, ...] = ()
    result: Result = field(default_factory=Result)
    stop: Stop | None = None
    not_before: float = 0.0
    state_since: float = 0.0
    ended_at: float | None = None
    failures: int = 0
    log_complete: bool = False
    supersedes: tuple[str, ...] = ()
    joined: int = 0
    version: int = 0

    @property
    def terminal(self) -> bool:
        """Whether the build is over for good."""
        return self.state in TERMINAL

    @property
    def current(self) -> Attempt | None:
        """The newest attempt, if there was one."""
        return self.attempts[-1] if self.attempts else None

    @property
    def pinned(self) -> str | None:
        """The digest that an attempt was allowed to publish last: maybe it has."""
        digests = [attempt.digest for attempt in self.attempts if attempt.digest is not None]
        return digests[-1] if digests else None
