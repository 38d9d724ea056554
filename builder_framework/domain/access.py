"""Who may do what: roles, everywhere or in a project, and one decision for every request. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Role(str, enum.Enum):
    """What somebody may do; each role may do what those before it may, too."""

    NONE = "none"
    VIEWER = "viewer"
    BUILDER = "builder"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, other: Role) -> bool:
        """Whether it may do all that `other` may."""
        return _RANK[self] >= _RANK[other]


_RANK = {role: rank for rank, role in enumerate(Role)}


class Action(str, enum.Enum):
    """What a request does.

    OWN: to the caller's own things, as everybody may. SEE: builds with their logs. MEASURE: figures
    over all builds. SUBMIT: a new build. CHANGE: a build that is there. OPERATE: the framework
    itself. MANAGE: a project's members and credentials. ADMINISTER: what projects there are, and
    what they may.
    """

    OWN = "own"
    SEE = "see"
    MEASURE = "measure"
    SUBMIT = "submit"
    CHANGE = "change"
    OPERATE = "operate"
    MANAGE = "manage"
    ADMINISTER = "administer"


class Verdict(enum.Enum):
    """HIDDEN: the caller must not even learn that there is such a thing."""

    ALLOWED = enum.auto()
    FORBIDDEN = enum.auto()
    HIDDEN = enum.auto()


@dataclass(frozen=True)
class Actor:
    """Who makes a request. `role`: everywhere; `projects`: in those, if it is more there.

    `token`: id of the token that stands for him.
    """

    name: str
    role: Role
    projects: Mapping[str, Role] = field(default_factory=dict)
    token: str | None = None

    def role_in(self, project: str | None) -> Role:
        """The higher of both; without a project the one everywhere."""
        there = self.projects.get(project, Role.NONE) if project is not None else Role.NONE
        return highest(self.role, there)

    @property
    def anywhere(self) -> Role:
        """The highest that it has."""
        return highest(self.role, *self.projects.values())

    @property
    def visible(self) -> tuple[str, ...] | None:
        """The projects whose builds it may see; None: all builds."""
        if self.role.covers(Role.VIEWER):
            return None
        return tuple(name for name, role in self.projects.items() if role.covers(Role.VIEWER))

    def limited(self, role: Role, project: str | None, token: str) -> Actor:
        """By a token: with no more than `role`, and in no other project than `project`."""
        if project is not None:
            there = {project: lowest(role, self.role_in(project))}
            return Actor(self.name, Role.NONE, there, token)
        projects = {name: lowest(role, there) for name, there in self.projects.items()}
        return Actor(self.name, lowest(role, self.role), projects, token)


@dataclass(frozen=True)
class Subject:
    """What a request is about: somebody's build (`owner`), or a project itself."""

    project: str | None = None
    owner: str | None = None


def highest(*roles: Role) -> Role:
    """The one that may do most."""
    return max(roles, key=_RANK.__getitem__)


def lowest(*roles: Role) -> Role:
    """The one that may do least."""
    return min(roles, key=_RANK.__getitem__)


def decide(actor: Actor, action: Action, subject: Subject | None = None) -> Verdict:
    """Whether `actor` may do it; without a subject, whether there may be one with which it may."""
    if action is Action.OWN:
        return Verdict.ALLOWED
    if action in _EVERYWHERE:
        return _allowed(actor.role.covers(_LEAST[action]))
    if subject is None:
        return _allowed(actor.anywhere.covers(_LEAST[action]))
    role = actor.role_in(subject.project)
    if not role.covers(Role.VIEWER):
        return Verdict.HIDDEN
    least = _LEAST[action]
    if action is Action.CHANGE and subject.owner != actor.name:
        least = Role.OPERATOR  # a builder's hands are off what others have asked for
    return _allowed(role.covers(least))


_EVERYWHERE = frozenset({Action.MEASURE, Action.OPERATE, Action.ADMINISTER})

_LEAST = {
    Action.MEASURE: Role.VIEWER,
    Action.SEE: Role.VIEWER,
    Action.SUBMIT: Role.BUILDER,
    Action.CHANGE: Role.BUILDER,
    Action.OPERATE: Role.OPERATOR,
    Action.MANAGE: Role.ADMIN,
    Action.ADMINISTER: Role.ADMIN,
}


def _allowed(yes: bool) -> Verdict:
    return Verdict.ALLOWED if yes else Verdict.FORBIDDEN
