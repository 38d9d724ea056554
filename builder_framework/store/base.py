"""What a store promises; `tests/contract/test_store.py` holds every implementation to it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from builder_framework.domain.delivery import Delivery, Try
from builder_framework.domain.model import Build
from builder_framework.ports import DeliveryView, Idempotency, ListQuery


@dataclass(frozen=True)
class Change:
    """`build` replaces `previous`, which must still be what is stored; None: it is new.

    `deliveries`: the webhooks that tell of it, stored with it or not at all.
    """

    build: Build
    previous: Build | None = None
    idempotency: Idempotency | None = None
    deliveries: tuple[Delivery, ...] = ()


@dataclass(frozen=True)
class KnownKey:
    """What an idempotency key was used for."""

    fingerprint: str
    build_id: str


class Outbox(Protocol):
    """Durable webhooks. Every call may raise StoreUnavailableError and then has changed nothing."""

    def due(self, now: float, busy: Collection[str], limit: int) -> list[Delivery]:
        """What to send now: for each host the one that is due longest; `busy` hosts left out."""
        ...

    def record(self, delivery: Delivery, made: Try) -> None:
        """`delivery` as it is after the try. Raises StaleWriteError when it was tried elsewhere."""
        ...

    def of_build(self, build_id: str) -> tuple[DeliveryView, ...]:
        """Every delivery of a build, in order of its events."""
        ...

    def redeliver(self, build_id: str, delivery_id: str, now: float) -> DeliveryView:
        """Make a delivery due again, whatever became of it. Raises NotFoundError."""
        ...


class Store(Protocol):
    """Durable builds. Every call may raise StoreUnavailableError and then has changed nothing."""

    @property
    def outbox(self) -> Outbox:
        """The webhooks of those builds, in the same database."""
        ...

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
