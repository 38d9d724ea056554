"""Which build goes where: `match(queue, offers)` -> placements, and a named refusal otherwise.

Pure. Several builds may share an offer, offers of one agent are merged, and a build that fits
nowhere never stands in the way of the next one.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import re2

from builder_framework.domain.model import Constraint, Resources
from builder_framework.errors import InvalidValueError

# Mesos' scalars have three decimal digits (values.cpp, fixed point since 1.0); sums of floats
# are compared with half of the last one to spare.
_EPSILON = 0.0005


class RefusalReason(str, enum.Enum):
    """Why an agent does not take a build; the first that holds, in this order, is told."""

    GPUS = "gpu_agent"
    MAINTENANCE = "agent_maintenance"
    CONSTRAINT = "constraint"
    CPUS = "insufficient_cpus"
    MEM = "insufficient_mem"
    DISK = "insufficient_disk"
    SLOTS = "no_free_slot"
    AVOIDED = "agent_avoided"
    PROJECT = "project_limit"
    COLDER = "colder_cache"


class Operator(str, enum.Enum):
    """Constraint operators, as Marathon names them (Marathon docs, "Constraints")."""

    EQUALS = "EQUALS"
    CLUSTER = "CLUSTER"
    IS = "IS"
    LIKE = "LIKE"
    UNLIKE = "UNLIKE"


@dataclass(frozen=True)
class Unavailability:
    """A maintenance window: start in seconds since the epoch, duration None means without end."""

    start: float
    duration: float | None = None

    def overlaps(self, begin: float, end: float) -> bool:
        """Whether the window touches [begin, end]."""
        ends = None if self.duration is None else self.start + self.duration
        return self.start <= end and (ends is None or ends > begin)


@dataclass(frozen=True)
class Offer:
    """What an agent has to give. `attributes`: name to text, as Mesos prints values."""

    id: str
    agent_id: str
    hostname: str
    agent_url: str
    resources: Resources
    attributes: Mapping[str, str] = field(default_factory=dict)
    unavailability: Unavailability | None = None
    gpus: float = 0.0


@dataclass(frozen=True)
class QueuedBuild:
    """What matching needs to know of a build.

    `executor`: what an executor takes on top of `resources` where none of `kind` is yet; None as
    kind: it always needs one of its own.
    `duration`: seconds that the build may take, for maintenance windows. `avoid`: ids of agents on
    which attempts failed lately. `warm`: URL of the agent with the warmest cache, for which the
    build waits until `patient_until`.
    """

    build_id: str
    resources: Resources
    duration: float
    constraints: tuple[Constraint, ...] = ()
    avoid: frozenset[str] = frozenset()
    warm: str | None = None
    patient_until: float = 0.0
    executor: Resources = field(default_factory=Resources)
    kind: str | None = None
    project: str | None = None


@dataclass(frozen=True)
class AgentOffer:
    """All offers of one agent together."""

    offers: tuple[Offer, ...]
    resources: Resources

    @property
    def first(self) -> Offer:
        """Any of them: agent, attributes and unavailability are the same in all."""
        return self.offers[0]


@dataclass(frozen=True)
class Match:
    """A build and where it goes."""

    build_id: str
    agent: AgentOffer
    slot: int


@dataclass(frozen=True)
class MatchResult:
    """`refusals`: build id -> agent id -> why not. `unused`: agents that got nothing."""

    matches: tuple[Match, ...]
    unused: tuple[AgentOffer, ...]
    refusals: Mapping[str, Mapping[str, str]]


def merge(offers: Sequence[Offer]) -> tuple[AgentOffer, ...]:
    """Offers grouped by agent, in the order in which agents first appear."""
    by_agent: dict[str, list[Offer]] = {}
    for offer in offers:
        by_agent.setdefault(offer.agent_id, []).append(offer)
    return tuple(
        AgentOffer(tuple(group), sum((offer.resources for offer in group), Resources()))
        for group in by_agent.values()
    )


def match(
    queue: Sequence[QueuedBuild],
    offers: Sequence[Offer],
    *,
    now: float,
    slots_in_use: Mapping[str, frozenset[int]],
    slots_per_agent: int,
    executors: AbstractSet[tuple[str, str]] = frozenset(),
    room: Mapping[str, int] | None = None,
) -> MatchResult:
    """Place as many builds of `queue` (in its order) as the offers carry.

    Among the agents that fit, the one with the warm cache takes the build, else the one with most
    cpus left, so that builds spread.
    `slots_in_use`: agent id -> numbers of cache volumes held by attempts that are not over.
    `executors`: (agent id, kind) of those that take further builds. `room`: project -> how many
    more of its builds may run; others have no limit.
    """
    agents, room = merge(offers), dict(room or {})
    left = {agent.first.agent_id: agent.resources for agent in agents}
    used = {
        agent.first.agent_id: set(slots_in_use.get(agent.first.agent_id, ())) for agent in agents
    }
    there = set(executors)
    matches: list[Match] = []
    refusals: dict[str, dict[str, str]] = {}
    for build in queue:
        if build.project is not None and room.get(build.project, 1) <= 0:
            limit = RefusalReason.PROJECT.value
            refusals[build.build_id] = {agent.first.agent_id: limit for agent in agents}
            continue
        fitting: list[AgentOffer] = []
        refused: dict[str, str] = {}
        for agent in agents:
            agent_id = agent.first.agent_id
            needs = _needs(build, agent_id, there)
            reason = refusal(build, needs, agent.first, left[agent_id], now)
            if reason is None and len(used[agent_id]) >= slots_per_agent:
                reason = RefusalReason.SLOTS.value
            if reason is None:
                fitting.append(agent)
            else:
                refused[agent_id] = reason
        best = _choose(build, fitting, left)
        if best is None or _waits(build, best, agents, refused, now):
            colder = {agent.first.agent_id: RefusalReason.COLDER.value for agent in fitting}
            refusals[build.build_id] = refused | colder
            continue
        agent_id = best.first.agent_id
        slot = next(n for n in range(slots_per_agent) if n not in used[agent_id])
        left[agent_id] -= _needs(build, agent_id, there)
        if build.kind is not None:
            there.add((agent_id, build.kind))
        used[agent_id].add(slot)
        if build.project in room:
            room[build.project] -= 1
        matches.append(Match(build.build_id, best, slot))
    taken = {m.agent.first.agent_id for m in matches}
    unused = tuple(agent for agent in agents if agent.first.agent_id not in taken)
    return MatchResult(tuple(matches), unused, refusals)


def _needs(build: QueuedBuild, agent_id: str, executors: AbstractSet[tuple[str, str]]) -> Resources:
    """An executor that is there has its own resources already."""
    if build.kind is not None and (agent_id, build.kind) in executors:
        return build.resources
    return build.resources + build.executor


def _choose(
    build: QueuedBuild, fitting: Sequence[AgentOffer], left: Mapping[str, Resources]
) -> AgentOffer | None:
    warm = (agent for agent in fitting if agent.first.agent_url == build.warm)
    roomy = max(fitting, key=lambda agent: left[agent.first.agent_id].cpus, default=None)
    return next(warm, roomy)


_NOT_SOON = (RefusalReason.GPUS, RefusalReason.MAINTENANCE, RefusalReason.AVOIDED)


def _waits(
    build: QueuedBuild,
    best: AgentOffer,
    agents: Sequence[AgentOffer],
    refused: Mapping[str, str],
    now: float,
) -> bool:
    """Whether the build had better wait for its warm agent than go to `best`."""
    if build.warm in (None, best.first.agent_url) or now >= build.patient_until:
        return False
    told = [
        refused.get(agent.first.agent_id, "")
        for agent in agents
        if agent.first.agent_url == build.warm
    ]
    constraint = RefusalReason.CONSTRAINT.value
    return not any(why in _NOT_SOON or why.startswith(constraint) for why in told)


def refusal(
    build: QueuedBuild, needs: Resources, offer: Offer, left: Resources, now: float
) -> str | None:
    """Why the agent with `left` resources does not take the build, which `needs` so much there;
    None when it does.
    """
    if offer.gpus > 0:
        return RefusalReason.GPUS.value
    window = offer.unavailability
    if window is not None and window.overlaps(now, now + build.duration):
        return RefusalReason.MAINTENANCE.value
    for constraint in build.constraints:
        if not satisfies(constraint, offer):
            return f"{RefusalReason.CONSTRAINT.value}:{constraint.attribute}"
    if needs.cpus > left.cpus + _EPSILON:
        return RefusalReason.CPUS.value
    if needs.mem > left.mem + _EPSILON:
        return RefusalReason.MEM.value
    if needs.disk > left.disk + _EPSILON:
        return RefusalReason.DISK.value
    if offer.agent_id in build.avoid:
        return RefusalReason.AVOIDED.value
    return None


def satisfies(constraint: Constraint, offer: Offer) -> bool:
    """Whether the agent meets the constraint; `hostname` is an attribute every agent has.

    As in Marathon (Constraints.scala) an agent without the attribute satisfies only UNLIKE.
    LIKE and UNLIKE match the whole value against an RE2 pattern: linear time, whatever a request
    brings.
    """
    if constraint.attribute == "hostname":
        value: str | None = offer.hostname
    else:
        value = offer.attributes.get(constraint.attribute)
    operator = Operator(constraint.operator)
    if value is None:
        return operator is Operator.UNLIKE
    if operator in (Operator.LIKE, Operator.UNLIKE):
        matched = compile_pattern(constraint.value).fullmatch(value) is not None
        return matched is (operator is Operator.LIKE)
    return value == constraint.value


@functools.lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> re2._Regexp:
    """The RE2 pattern of a LIKE or UNLIKE. Raises InvalidValueError when it is none."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        raise InvalidValueError(f"not an RE2 pattern: {error}") from error


def idle_to_end(
    build: QueuedBuild, offer: AgentOffer, idle: int, executor: Resources, now: float
) -> int:
    """How many of an agent's `idle` executors, each with the resources of `executor`, would have
    to end so that the build fits in there; 0 when it does anyway, or would not even so.
    """
    needs = build.resources + build.executor
    left = offer.resources
    for number in range(idle + 1):
        if refusal(build, needs, offer.first, left, now) is None:
            return number
        left += executor
    return 0
