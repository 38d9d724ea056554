"""What agents offer, and which of them meet a constraint."""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import re2

from builder_framework.domain.model import Constraint, Resources
from builder_framework.errors import InvalidValueError

EPSILON = 0.0005
"""Mesos' scalars have three decimal digits (values.cpp, fixed point since 1.0); sums of floats are
compared with half of the last one to spare."""


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
    HELD = "held_for_another"
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
class AgentOffer:
    """All offers of one agent together."""

    offers: tuple[Offer, ...]
    resources: Resources

    @property
    def first(self) -> Offer:
        """Any of them: agent, attributes and unavailability are the same in all."""
        return self.offers[0]


def merge(offers: Sequence[Offer]) -> tuple[AgentOffer, ...]:
    """Offers grouped by agent, in the order in which agents first appear."""
    by_agent: dict[str, list[Offer]] = {}
    for offer in offers:
        by_agent.setdefault(offer.agent_id, []).append(offer)
    return tuple(
        AgentOffer(tuple(group), sum((offer.resources for offer in group), Resources()))
        for group in by_agent.values()
    )


def value_of(attribute: str, offer: Offer) -> str | None:
    """The agent's; `hostname` is an attribute that every agent has."""
    return offer.hostname if attribute == "hostname" else offer.attributes.get(attribute)


def satisfies(constraint: Constraint, value: str | None) -> bool:
    """Whether an agent with this value of the constraint's attribute meets it.

    As in Marathon (Constraints.scala) an agent without the attribute satisfies only UNLIKE.
    LIKE and UNLIKE match the whole value against an RE2 pattern: linear time, whatever a request
    brings.
    """
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
