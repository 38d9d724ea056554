"""What a store promises; `tests/contract/test_store.py` holds every implementation to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from builder_framework.domain.model import Build
from builder_framework.ports import Idempotency, ListQuery


@dataclass(frozen=True)
class Change:
    """`build` replaces `previous`, which must still be what is stored; None: it is new."""

    build: Build
    previous: Build | None = None
    idempotency: Idempotency | None = None


@dataclass(frozen=True)
class KnownKey:
    """What an idempotency key was used for."""

    fingerprint: str
    build_id: str


class Store(Protocol):
    """Durable builds. Every call may raise StoreUnavailableError and then has changed nothing."""

    def apply(self, changes: Sequence[Change]) -> None:
        """All changes or none, durable on return. Raises StaleWriteError."""
        ...

    def known_key(self, owner: str, key: str) -> KnownKey | None:
        """The build that `owner` made with this Idempotency-Key."""
        ...

    def get(self, build_id: str) -> Build:
        """Raises NotFoundError."""
        ...

    def unfinished(self) -> list[Build]:
        """Builds that are not over, or whose log is not complete; in order of acceptance."""
        ...

    def list(self, query: ListQuery) -> tuple[list[Build], str | None]:
        """One page, newest first, and the cursor of the next. Raises InvalidInputError."""
        ...

    def framework_id(self) -> str | None:
        """The id under which this framework is registered with the master."""
        ...

    def save_framework_id(self, framework_id: str) -> None:
        """Durable on return."""
        ...

    def ping(self) -> None:
        """Prove that a write would succeed now."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...
