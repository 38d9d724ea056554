"""Who is told of builds besides plain webhooks: the operator's targets."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from builder_framework.domain.model import Build, NotifyRequest
from builder_framework.domain.notices import Notice
from builder_framework.domain.states import TERMINAL, State
from builder_framework.redact import Secret


class Kind(str, enum.Enum):
    """What a target understands."""

    WEBHOOK = "webhook"
    ROCKETCHAT = "rocketchat"
    SLACK = "slack"
    GITLAB = "gitlab"
    GITHUB = "github"
    GITEA = "gitea"


CHATS = frozenset({Kind.ROCKETCHAT, Kind.SLACK})
"""Are sent messages for people, by an incoming webhook."""

FORGES = frozenset({Kind.GITLAB, Kind.GITHUB, Kind.GITEA})
"""Are sent commit statuses, by their API."""

EVENTS: Mapping[str, Notice] = {notice.value.removeprefix("build."): notice for notice in Notice}
"""By the names that people write."""

OUTCOMES: Mapping[str, State] = {state.value.lower(): state for state in sorted(TERMINAL)}

USUAL = frozenset(set(Notice) - {Notice.PHASE})
"""What a webhook is told when nobody said: all but the phases."""


@dataclass(frozen=True)
class Filter:
    """`events` that are told, and of those that end a build only these `outcomes`."""

    events: frozenset[Notice] = USUAL
    outcomes: frozenset[State] = TERMINAL

    def passes(self, notice: Notice, build: Build) -> bool:
        """Whether it is told."""
        if notice is Notice.FINISHED and build.state not in self.outcomes:
            return False
        return notice in self.events

    def narrowed(self, asked: NotifyRequest) -> Filter:
        """What a request says of it instead."""
        return Filter(
            frozenset(EVENTS[name] for name in asked.events) or self.events,
            frozenset(OUTCOMES[name] for name in asked.outcomes) or self.outcomes,
        )


@dataclass(frozen=True)
class Target:
    """One of the operator's. `url`: of a webhook; of a forge its root, as URLs of repositories
    begin. `token`: of a forge. `always`: told of every build, not only of those that ask for it.
    `projects`: only of their builds; none: of all. `channel`: of a chat, when it is not the one
    that the URL belongs to; requests may choose another one of `channels`. `context`: what a
    commit status is called. `api`: where a forge's API is, when not where it usually is.
    """

    name: str
    kind: Kind
    url: Secret
    filter: Filter = field(default_factory=Filter)
    token: Secret | None = None
    always: bool = True
    projects: frozenset[str] = frozenset()
    channel: str | None = None
    channels: frozenset[str] = frozenset()
    context: str = "builder"
    api: str | None = None

    def serves(self, project: str | None) -> bool:
        """Whether it may be told of builds of that project."""
        return not self.projects or project in self.projects


def fault(asked: NotifyRequest, targets: Iterable[Target], project: str | None) -> str | None:
    """Why a request may not have that, as a sentence; None when it may."""
    known = {target.name: target for target in targets if target.serves(project)}
    if asked.target not in known:
        names = ", ".join(sorted(name for name in known if not known[name].always)) or "none"
        return f"there is no target {asked.target!r} for this build; there are: {names}"
    target = known[asked.target]
    if target.always:
        return f"{target.name} is told of every build already"
    if asked.channel is None or asked.channel == target.channel:
        return None
    if target.kind not in CHATS:
        return f"{target.name} is no chat and has no channels"
    if asked.channel not in target.channels:
        names = ", ".join(sorted(target.channels)) or "none"
        return f"{target.name} has no such channel to choose; there are: {names}"
    return None
