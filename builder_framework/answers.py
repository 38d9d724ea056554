"""What the API answers, field by field: the one place where that is said.

`api.render` makes these values (a field that is missing or too many is a type error), the OpenAPI
document is generated from them, and `builder_framework.client` gives them to its callers. They are
plain dicts, so that a client knows the fields of its own version and passes on later ones.

Times are RFC 3339 in UTC with milliseconds; secrets are `***`. Importing this is cheap: clients do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from typing_extensions import TypedDict

from builder_framework.domain.access import Role
from builder_framework.domain.delivery import DeliveryState
from builder_framework.domain.deployment import DeploymentState
from builder_framework.domain.model import Dedupe, Supersede
from builder_framework.domain.states import State
from builder_framework.protocol import CacheUse, EngineMode, Phase, Reason
from builder_framework.recipe import LoginUse, Provenance, RunNetwork


@dataclass(frozen=True, eq=False)
class Schema:
    """JSON Schema keywords beside those of the type. For pydantic, without importing it.

    Compared by identity, because `X | None` hashes what X is annotated with.
    """

    keywords: Mapping[str, Any]

    def __get_pydantic_json_schema__(
        self, core_schema: Any, handler: Callable[[Any], dict[str, Any]]
    ) -> dict[str, Any]:
        return {**handler(core_schema), **self.keywords}


def _says(description: str) -> Schema:
    return Schema({"description": description})


def _one_of(names: type[Any]) -> Schema:
    """The values of an enum. The Python type stays `str`: a later server may know more of them."""
    return Schema({"enum": [each.value for each in names]})


Time = Annotated[str, Schema({"format": "date-time"})]
StateName = Annotated[str, _one_of(State)]
PhaseName = Annotated[str, _one_of(Phase)]
ReasonName = Annotated[str, _one_of(Reason)]
RoleName = Annotated[str, _one_of(Role)]
EngineName = Annotated[str, _one_of(EngineMode)]
Seconds = Annotated[float, _says("seconds")]
Bytes = Annotated[int, Schema({"minimum": 0, "description": "bytes"})]
Path = Annotated[str, _says("path of this API, from its root")]
Masked = Annotated[str, _says("*** stands for a secret")]


class Login(TypedDict):
    """A login for a git server."""

    host: str
    username: str | None
    password: Masked | None
    ssh_key: Masked | None


class Git(TypedDict):
    """`source.git`."""

    url: str
    ref: str | None
    username: str | None
    password: Masked | None
    ssh_key: Masked | None
    known_hosts: str | None
    depth: int
    submodules: bool
    lfs: bool
    keep_git_dir: bool
    logins: list[Login]


class Tarball(TypedDict):
    """`source.tarball`."""

    url: str
    username: str | None
    password: Masked | None
    sha256: str | None
    strip_components: int


class Upload(TypedDict):
    """`source.upload`: the build context that came with the request."""

    sha256: str
    size: Bytes


class Inline(TypedDict):
    """`source.inline`."""

    dockerfile: str


class Task(TypedDict):
    """`source.task`: of a client of Eremetic; nothing is built."""

    image: str
    command: str
    args: list[str]
    env: dict[str, Masked]
    privileged: bool
    network: Annotated[str, _one_of(RunNetwork)]


class Source(TypedDict, total=False):
    """Exactly one of them."""

    git: Git
    tarball: Tarball
    upload: Upload
    inline: Inline
    task: Task


class RegistryAuth(TypedDict):
    """A login for the registry of the images."""

    username: str
    password: Masked


class RegistryLogin(TypedDict):
    """A login for one registry."""

    registry: str
    username: str
    password: Masked
    use: Annotated[str, _one_of(LoginUse)]


class Resources(TypedDict):
    """`cpus` in cores, `mem` and `disk` in MiB."""

    cpus: float
    mem: float
    disk: float


class Recipe(TypedDict):
    """How the image is built."""

    context: str
    dockerfile: str
    target: str | None
    build_args: dict[str, str]
    secrets: dict[str, Masked]
    ssh: dict[str, Masked]
    no_cache: bool
    pull: bool
    add_hosts: dict[str, str]
    shm_size: int | None
    network: Annotated[str, _one_of(RunNetwork)]
    platforms: list[str]
    cache_from: list[str]
    cache_to: str | None
    registry_cache: bool
    hooks: bool
    tests: bool


class Output(TypedDict):
    """What the image says of itself."""

    image_labels: dict[str, str]
    annotations: dict[str, str]
    standard_labels: bool
    timestamp: str | None
    sbom: bool
    provenance: Annotated[str, _one_of(Provenance)]


class Notification(TypedDict):
    """A target of the operator, and what it is told; empty: as the operator has it."""

    target: str
    channel: str | None
    events: list[str]
    outcomes: list[str]


class MarathonApp(TypedDict):
    """`deploy.marathon`."""

    app: str
    timeout: Seconds


class Deploy(TypedDict):
    """Where the image goes after its build."""

    marathon: MarathonApp


class Request(Recipe, Output):
    """What was asked for, with the operator's defaults filled in."""

    source: Source
    images: list[str]
    registry_auth: RegistryAuth | None
    registries: list[RegistryLogin]
    resources: Resources
    constraints: list[list[str]]
    timeout: Seconds
    queue_ttl: Seconds
    priority: int
    max_attempts: int
    labels: dict[str, str]
    supersede: Annotated[str, _one_of(Supersede)]
    group: str | None
    dedupe: Annotated[str, _one_of(Dedupe)]
    engine: EngineName | None
    exclusive: bool
    cache: Annotated[str, _one_of(CacheUse)]
    executor_network: str | None
    attended: Seconds | None
    project: str | None
    project_secrets: dict[str, str]
    webhooks: list[str]
    notify: list[Notification]
    deploy: Deploy | None


class Refusal(TypedDict):
    """Why offers did not fit a build, and how many agents that holds for."""

    reason: str
    agents: int


class Queue(TypedDict):
    """Why a build waits; `position` counts from 1."""

    position: int
    message: str
    refusals: list[Refusal]
    agents_seen: int
    last_offer_at: Time | None


class AgentName(TypedDict):
    """Where an attempt was placed."""

    id: str
    hostname: str
    url: str


class Attempt(TypedDict):
    """One try: one Mesos task."""

    number: int
    task_id: str
    agent: AgentName
    executor: Annotated[str, _says("its Mesos id; several builds may have had the same one")]
    placed_at: Time
    running_at: Time | None
    ended_at: Time | None
    reason: ReasonName | None
    message: str | None


class PushedImage(TypedDict):
    """What was pushed."""

    name: str
    digest: str


class Steps(TypedDict):
    """Of the Dockerfile."""

    total: int
    cached: int


class FailedStep(TypedDict):
    """The step that a build failed at."""

    name: str
    line: int | None
    exit_code: int | None


class Result(TypedDict):
    """What came of a build, as far as it is known."""

    commit: str | None
    source_digest: str | None
    digest: str | None
    images: list[PushedImage]
    size: Bytes | None
    layers: int | None
    steps: Steps | None
    failed_step: FailedStep | None
    timings: Annotated[dict[str, float], _says("seconds by phase")]


class Deployment(TypedDict):
    """What became of the image after the build, which has succeeded in any case. `previous`: the
    image that the app had when this began.
    """

    state: Annotated[str, _one_of(DeploymentState)]
    app: str
    image: str
    digest: str | None
    previous: str | None
    message: str | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None


class Log(TypedDict):
    """`tail`: the last lines, of a failed build that is asked for alone."""

    size: Bytes
    complete: bool
    tail: str | None


class BuildLinks(TypedDict):
    """Where more is."""

    self: Path
    log: Path
    log_stream: Path
    cancel: Path
    deliveries: Path


class Build(Request):
    """A build: what was asked for, and what became of it."""

    id: str
    state: StateName
    phase: PhaseName | None
    reason: ReasonName | None
    message: str | None
    owner: str
    supersedes: list[str]
    joined: int
    created_at: Time
    state_since: Time
    started_at: Time | None
    ended_at: Time | None
    queue: Queue | None
    attempts: list[Attempt]
    result: Result
    deployment: Annotated[
        Deployment | None, _says("once the build has succeeded, if deploy was asked for")
    ]
    log: Log
    links: BuildLinks


class BuildPage(TypedDict):
    """A page of builds; `next`: path of the next one."""

    builds: list[Build]
    next: Path | None


class QueuePage(TypedDict):
    """The first builds that wait, in order; `total`: how many do."""

    builds: list[Build]
    total: int


class AgentRefusal(TypedDict):
    """Why an agent was not used, and how many builds that holds for."""

    reason: str
    builds: int


class Offer(TypedDict):
    """What an agent had to give when it was last offered, and what became of that."""

    at: Time
    resources: Resources
    attributes: dict[str, str]
    unavailable_from: Time | None
    used: bool
    refusals: list[AgentRefusal]


class SelfLink(TypedDict):
    """Where more is."""

    self: Path


class AgentBuild(TypedDict):
    """A build that has a task on an agent."""

    id: str
    owner: str
    project: str | None
    state: StateName
    phase: PhaseName | None
    images: list[str]
    attempt: int | None
    started_at: Time | None
    resources: Resources
    links: SelfLink


class Executor(TypedDict):
    """An executor that is there. `builds`: ids; `open`: takes further ones."""

    id: str
    builds: list[str]
    idle_since: Time | None
    served: int
    open: bool


class AgentFailure(TypedDict):
    """An attempt that speaks against an agent."""

    at: Time
    build: str
    reason: ReasonName


class Agent(TypedDict):
    """An agent as the framework knows it."""

    id: str
    hostname: str
    url: str
    offer: Offer | None
    builds: list[AgentBuild]
    executors: list[Executor]
    warm_sources: int
    failures: list[AgentFailure]
    avoided_until: Time | None


class Agents(TypedDict):
    """`slots`: how many builds each may have; `message`: why this may not be all."""

    agents: list[Agent]
    slots: int | None
    message: str | None


class Try(TypedDict):
    """One try to deliver a webhook; `status` is null when no answer came."""

    at: Time
    seconds: Seconds
    status: int | None
    error: str | None


class DeliveryLinks(TypedDict):
    """Where it is sent again."""

    redeliver: Path


class Delivery(TypedDict):
    """A webhook, and what became of it."""

    id: str
    event: str
    target: Annotated[str | None, _says("of the operator's; null for a plain webhook")]
    url: Annotated[str, _says("scheme and host; the rest may be a token")]
    state: Annotated[str, _one_of(DeliveryState)]
    created_at: Time
    next_at: Time | None
    ended_at: Time | None
    tries: list[Try]
    links: DeliveryLinks


class Deliveries(TypedDict):
    """In order of their events."""

    deliveries: list[Delivery]


class StateEvent(TypedDict):
    """`event: state` of a log stream: first, and whenever one of them changes."""

    state: StateName
    phase: PhaseName | None
    attempt: int | None
    position: int | None
    message: str | None


class LogEvent(TypedDict):
    """`event: log` of a log stream; its `id` is the byte offset after this text."""

    text: str


class EndEvent(TypedDict):
    """`event: end` of a log stream: the last one."""

    state: StateName
    phase: PhaseName | None
    reason: ReasonName | None
    message: str | None
    commit: str | None
    digest: str | None
    images: list[PushedImage]


class ProblemEvent(TypedDict):
    """`event: problem` of a log stream, which cannot go on."""

    code: str
    detail: str


class WhoAmI(TypedDict):
    """The caller; `projects`: his role in each."""

    name: str
    role: RoleName
    projects: dict[str, RoleName]


class Token(TypedDict):
    """What stands for its owner."""

    id: str
    owner: str
    name: str
    role: RoleName
    project: str | None
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None


class NewToken(Token):
    """With its text, which is told this once."""

    token: str


class Tokens(TypedDict):
    """The newest first."""

    tokens: list[Token]


class Quota(TypedDict):
    """Of a project; null is no limit. `max_mem` and `max_disk` in MiB, `max_timeout` in seconds."""

    max_waiting: int | None
    max_running: int | None
    max_cpus: float | None
    max_mem: float | None
    max_disk: float | None
    max_timeout: float | None
    max_priority: int | None
    engines: list[EngineName] | None
    networks: list[str] | None
    programs: bool | None


class Project(TypedDict):
    """What belongs together. `repositories`, `images` and `apps`: beginnings of names."""

    name: str
    description: str
    repositories: list[str]
    images: list[str]
    apps: list[str]
    quota: Quota


class ProjectWithMembers(Project):
    """`members`: the role of each."""

    members: dict[str, RoleName]


class Projects(TypedDict):
    """Those that the caller may see."""

    projects: list[Project]


class Credential(TypedDict, total=False):
    """A project's credential by name, without what is secret. Of `kind` git: `host` and
    `username`; registry: `registry`, `username` and `use`; secret: `value`, masked.
    """

    name: str
    kind: Annotated[str, Schema({"enum": ["registry", "git", "secret"]})]
    registry: str
    host: str
    username: str | None
    use: Annotated[str, _one_of(LoginUse)]
    value: Masked


class Credentials(TypedDict):
    """By their names."""

    credentials: list[Credential]


class Scheduling(TypedDict):
    """Whether builds are started: `running`, `paused`, `draining` or `drained`, since when and by
    whom; and how many are on agents.
    """

    state: str
    by: str | None
    since: Time | None
    on_agents: int


class AuditEntry(TypedDict):
    """Who did what, from where. `user`: none of a login that failed for an unknown name."""

    at: Time | None
    user: str | None
    token: str | None
    action: str
    subject: str | None
    status: int
    address: str
    request_id: str


class AuditPage(TypedDict):
    """The newest first. `next`: value of `before` for what comes after."""

    entries: list[AuditEntry]
    next: int | None


class Alive(TypedDict):
    """The process answers."""

    status: str


class Ready(TypedDict):
    """Whether builds can be accepted and placed; `checks`: each part's state, for people."""

    ready: bool
    checks: dict[str, str]


class Version(TypedDict):
    """Of the server; `api`: of this interface."""

    name: str
    version: str
    api: str


class FieldFault(TypedDict):
    """A faulty field, parameter or header."""

    field: str
    problem: str


class _Problem(TypedDict):
    type: str
    title: str
    status: int
    detail: str
    code: Annotated[str, _says("for programs")]


class Problem(_Problem, total=False):
    """An error, as RFC 9457 has it. `errors`: all that is wrong, 100 at most."""

    errors: list[FieldFault]
