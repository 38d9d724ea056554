"""What may come in from outside and make builds: forges with their pushes, and chats. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from builder_framework.domain.targets import Kind
from builder_framework.domain.triggers import Rule, fits
from builder_framework.redact import Secret


@dataclass(frozen=True)
class Cloning:
    """How builds clone from a forge: with a login of https, or by ssh."""

    ssh: bool = False
    username: str | None = None
    password: Secret | None = None
    ssh_key: Secret | None = None
    known_hosts: str | None = None


@dataclass(frozen=True)
class Forge:
    """A GitLab, GitHub or Gitea whose pushes make builds of `user`.

    `url`: its root. `secrets`: any of them proves that a push is of this forge. `token`: reads
    files; `api`: where from, when not where it usually is. `repositories`: patterns of those that
    are listened to. `files`: whether those may bring their own rules; `file_images`: templates of
    the beginnings of what those may push to, `file_fields`: what they may say beyond the usual.
    `build`: fields of all requests, unless a rule says otherwise.
    """

    name: str
    kind: Kind
    url: str
    secrets: tuple[Secret, ...]
    user: str
    token: Secret | None = None
    api: str | None = None
    repositories: tuple[str, ...] = ("**",)
    cloning: Cloning = field(default_factory=Cloning)
    files: bool = False
    file_images: tuple[str, ...] = ()
    file_fields: frozenset[str] = frozenset()
    build: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class App:
    """What `build NAME` in a chat means. `build`: as of a rule."""

    repository: str
    images: tuple[str, ...]
    ref: str | None = None
    build: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Room:
    """A chat that may give orders. `users`: ours, by their names there; `user`: everybody else is,
    or nobody. `channels`: in which; none: in all.
    """

    name: str
    tokens: tuple[Secret, ...]
    users: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    channels: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Hooks:
    """All that may come in."""

    forges: Mapping[str, Forge] = field(default_factory=dict)
    rooms: Mapping[str, Room] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    apps: Mapping[str, App] = field(default_factory=dict)

    def rules_for(self, forge: str, repository: str) -> tuple[Rule, ...]:
        """Those that name the repository."""
        return tuple(
            rule
            for rule in self.rules
            if (not rule.forges or forge in rule.forges) and fits(rule.repositories, repository)
        )
