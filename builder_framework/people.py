"""Who calls: users with passwords, tokens that stand for them, and what projects they are in."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from builder_framework.domain.access import Actor, Role
from builder_framework.domain.projects import Catalog, Credential, Project
from builder_framework.redact import Secret
from builder_framework.users import Authenticator

_TOKEN = re.compile(r"bft_(?P<id>[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{43})")
"""Easy to find where it does not belong: secret scanners look for prefixes."""

_TOKEN_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Token:
    """Stands for its owner, with no more than `role`, in `project` alone if that is said.

    `digest`: SHA-256 of its secret, in hex; 256 random bits need no slower hash. Times in seconds
    since the epoch.
    """

    id: str
    owner: str
    name: str
    role: Role
    project: str | None
    digest: str
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None

    def opens_with(self, secret: str, now: float) -> bool:
        """Whether this is its secret, and its time has not come."""
        same = hmac.compare_digest(self.digest, digest(secret))
        return same and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True)
class TokenWish:
    """A token that somebody wants; see `Token`."""

    name: str
    role: Role
    project: str | None = None
    expires_at: float | None = None


class Tokens(Protocol):
    """The tokens there are. All calls may raise StoreUnavailableError."""

    def create(self, token: Token) -> None:
        """Raises ConflictError when its owner has one of that name."""
        ...

    def find(self, token_id: str) -> Token | None:
        """None, too, when it was revoked."""
        ...

    def used(self, token: Token, now: float) -> None:
        """Remember when, to the minute."""
        ...

    def list(self, owner: str | None = None) -> tuple[Token, ...]:
        """All, or those of one owner, the newest first."""
        ...

    def revoke(self, token_id: str, owner: str | None = None) -> None:
        """Raises NotFoundError, also when it is not one of `owner`."""
        ...


class Memberships(Protocol):
    """Who is what in which project. May raise StoreUnavailableError."""

    def roles_of(self, user: str) -> Mapping[str, Role]:
        """The role of a user in each project that he is in."""
        ...


class Projects(Memberships, Protocol):
    """The projects there are. All calls may raise StoreUnavailableError."""

    def all(self) -> Catalog:
        """Every project."""
        ...

    def put(self, project: Project) -> bool:
        """Make it, or change what is said of it (then False)."""
        ...

    def remove(self, name: str) -> None:
        """With its members and credentials.

        Raises NotFoundError, ConflictError while it has builds that are not over.
        """
        ...

    def members(self, name: str) -> Mapping[str, Role]:
        """Role of each. Raises NotFoundError."""
        ...

    def put_member(self, name: str, user: str, role: Role) -> None:
        """With NONE he is no member any more. Raises NotFoundError."""
        ...

    def credentials(self, name: str) -> Mapping[str, Credential]:
        """By their names, with their secrets. Raises NotFoundError."""
        ...

    def put_credential(self, name: str, credential: str, value: Credential) -> None:
        """Raises NotFoundError."""
        ...

    def remove_credential(self, name: str, credential: str) -> None:
        """Raises NotFoundError."""
        ...

    def waiting(self, name: str) -> int:
        """How many of its builds wait."""
        ...


class People:
    """Turns what a request brings into an actor. All calls may raise StoreUnavailableError."""

    def __init__(
        self,
        users: Authenticator,
        projects: Projects | None = None,
        tokens: Tokens | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Without `projects` nobody is in one. `clock`: seconds since the epoch."""
        self._users = users
        self.projects = projects
        self.tokens = tokens
        self._clock = clock

    def by_password(self, name: str, password: str) -> Actor | None:
        """The user with this password, or one of his tokens in its place."""
        if _TOKEN.fullmatch(password):
            found = self.by_token(password)
            return found if found is not None and found.name == name else None
        role = self._users.verify(name, password)
        return None if role is None else self._actor(name, role)

    def by_token(self, text: str) -> Actor | None:
        """Whom it stands for, as far as it goes; None once its owner is no user any more."""
        parts = _TOKEN.fullmatch(text)
        if parts is None or self.tokens is None:
            return None
        token, now = self.tokens.find(parts["id"]), self._clock()
        if token is None or not token.opens_with(parts["secret"], now):
            return None
        owner = self.known(token.owner)
        if owner is None:
            return None
        self.tokens.used(token, now)
        return owner.limited(token.role, token.project, token.id)

    def known(self, name: str) -> Actor | None:
        """A user who has proved who he is before."""
        role = self._users.role_of(name)
        return None if role is None else self._actor(name, role)

    def stamp(self, name: str) -> bytes | None:
        """See `Authenticator.stamp`."""
        return self._users.stamp(name)

    def remembers(self, name: str, password: str) -> bool:
        """Whether these were right a moment ago: whoever guesses is not helped by the answer."""
        return self._users.remembers(name, password)

    def _actor(self, name: str, role: Role) -> Actor:
        if self.projects is None:
            return Actor(name, role)
        return Actor(name, role, self.projects.roles_of(name))


def new_token(owner: str, wish: TokenWish, now: float) -> tuple[Token, Secret]:
    """A token, and its text, which nobody can tell ever again."""
    token_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    token = Token(
        id=token_id,
        owner=owner,
        name=wish.name,
        role=wish.role,
        project=wish.project,
        digest=digest(secret),
        created_at=now,
        expires_at=wish.expires_at,
    )
    return token, Secret(f"bft_{token_id}_{secret}")


def is_token_id(text: str) -> bool:
    """Whether it has the form of one."""
    return _TOKEN_ID.fullmatch(text) is not None


def digest(secret: str) -> str:
    """See `Token`."""
    return hashlib.sha256(secret.encode()).hexdigest()
