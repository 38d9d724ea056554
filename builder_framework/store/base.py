"""What a store promises; `tests/contract/test_store.py` holds every implementation to it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from builder_framework.domain.delivery import Delivery, Try
from builder_framework.domain.deployment import Deployment
from builder_framework.domain.model import Build, BuildRequest
from builder_framework.errors import ConflictError
from builder_framework.ports import DeliveryView, Idempotency, ListQuery


@dataclass(frozen=True)
class Change:
    """`build` replaces `previous`, which must still be what is stored; None: it is new.

    `keys`: stand for this build from now on; its owner gave them. `deliveries`: the webhooks that
    tell of it. `deployment`: what it makes due. All stored with it or not at all.
    """

    build: Build
    previous: Build | None = None
    keys: tuple[Idempotency, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    deployment: Deployment | None = None


@dataclass(frozen=True)
class KnownKey:
    """What an idempotency key was used for."""

    fingerprint: str
    build_id: str

    def check(self, idempotency: Idempotency) -> None:
        """Raises ConflictError when the key came with another body now."""
        if self.fingerprint != idempotency.fingerprint:
            raise ConflictError(
                f"Idempotency-Key {idempotency.key!r} was used for another request: "
                f"build {self.build_id}"
            )


SUBMITTED = "submitted"
"""Kind of an inbox row: the build was stored by a follower."""
CANCEL = "cancel"
"""Kind of an inbox row: somebody wants the build to end."""
ATTENDED = "attended"
"""Somebody follows the build at a follower."""
JOINED = "joined"
"""Kind of an inbox row: somebody asked for the same again and was given this build."""


@dataclass(frozen=True)
class InboxItem:
    """What a follower accepted for the leader to do. `at`: seconds since the epoch."""

    seq: int
    kind: str
    build_id: str
    by: str
    at: float


@dataclass(frozen=True)
class Leader:
    """Who leads. `url`: where its API answers; `since`: seconds since the epoch."""

    token: int
    holder: str
    url: str | None
    since: float


class Outbox(Protocol):
    """Durable webhooks. Every call may raise StoreUnavailableError and then has changed nothing."""

    def due(self, now: float, busy: Collection[str], limit: int) -> list[Delivery]:
        """What to send now: for each host the one that is due longest; `busy` hosts left out."""
        ...

    def record(self, delivery: Delivery, made: Try) -> None:
        """`delivery` as it is after the try. Raises StaleWriteError when it was tried elsewhere."""
        ...

    def overtaken(self, delivery: Delivery, now: float) -> bool:
        """Whether its target was meant to hear something newer of the build; then it is ended."""
        ...

    def of_build(self, build_id: str) -> tuple[DeliveryView, ...]:
        """Every delivery of a build, in order of its events."""
        ...

    def redeliver(self, build_id: str, delivery_id: str, now: float) -> DeliveryView:
        """Make a delivery due again, whatever became of it. Raises NotFoundError."""
        ...


class Deployments(Protocol):
    """Durable deployments. Every call may raise StoreUnavailableError, changing nothing."""

    def going_on(self) -> list[tuple[Deployment, str | None]]:
        """For each app the one to look after, each with a later build that has the app, if one has
        (`deployment.look`). The one that Marathon was told of goes before those that wait; of
        these the one first whose build was accepted first.
        """
        ...

    def record(self, deployment: Deployment, deliveries: Sequence[Delivery] = ()) -> Deployment:
        """Store it, as its next version, which is returned, with what that makes due.

        Raises StaleWriteError when it is not what is stored, LeadershipLostError.
        """
        ...

    def of_build(self, build_id: str) -> Deployment | None:
        """The build's, if it has one."""
        ...


class Store(Protocol):
    """Durable builds. Every call may raise StoreUnavailableError and then has changed nothing.

    Secrets are sealed in the database; whatever reads them raises SealError when it cannot.

    Only the leader changes builds: apply and save_framework_id raise LeadershipLostError unless
    `lead` was called here and nobody called it elsewhere since. Every write raises SchemaError
    when a newer version of this program has changed the schema meanwhile.
    """

    @property
    def outbox(self) -> Outbox:
        """The webhooks of those builds, in the same database."""
        ...

    @property
    def deployments(self) -> Deployments:
        """What becomes of their images, in the same database."""
        ...

    def lead(self, holder: str, url: str | None) -> int:
        """Write alone from now on: whoever did before is refused. The new token.

        To be called by whoever was elected. Waits for transactions of the one before. Raises
        ConfigError when the secrets of the database need a key that is not here.
        """
        ...

    def leader(self) -> Leader | None:
        """Who leads; None when nobody ever did."""
        ...

    def check_leadership(self) -> None:
        """Raises LeadershipLostError unless this store leads."""
        ...

    def apply(self, changes: Sequence[Change], taken: Sequence[int] = ()) -> None:
        """All changes or none, durable on return. Raises StaleWriteError, LeadershipLostError.

        `taken`: rows of the inbox that go with them. When the answer to a commit got lost, what
        became of it is found out first, by this call or by the next; a change that happened
        after its call had failed is a StaleWriteError of the next one.
        """
        ...

    def submit(
        self,
        build: Build,
        idempotency: Idempotency | None,
        deliveries: Sequence[Delivery] = (),
        window: float = 0.0,
    ) -> tuple[Build, bool]:
        """Accept a new build for the leader, which finds it in its inbox.

        Returns what the key stands for, or the build that does for this one, too
        (`same`, `dedupe.joins`), and False when that is an older build; the key stands for it from
        then on. Raises ConflictError when the key was used with another body.
        """
        ...

    def tell_attended(self, build_id: str, at: float) -> None:
        """Write down for the leader that somebody follows a build, which is there."""
        ...

    def ask_cancel(self, build_id: str, by: str, at: float) -> None:
        """Ask the leader to end a build. Raises NotFoundError. `at`: seconds since the epoch."""
        ...

    def inbox(self, limit: int) -> list[InboxItem]:
        """What followers accepted and the leader has not taken yet, oldest first."""
        ...

    def same(self, request: BuildRequest, owner: str) -> Build | None:
        """The newest build of the same `dedupe.essence`, if both want it and nothing speaks against
        it: nobody has asked to end it, and no later build has one of its tags.
        """
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
        """One page, newest first, and the cursor of the next. Raises InvalidInputError.

        A page may have fewer builds than there are, even none, and a next one all the same: see
        `search.page`.
        """
        ...

    def framework_id(self) -> str | None:
        """The id under which this framework is registered with the master."""
        ...

    def save_framework_id(self, framework_id: str) -> None:
        """Durable on return. Raises LeadershipLostError."""
        ...

    def ping(self) -> None:
        """Prove that a write would succeed now. Raises SealError when it could not be sealed."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...
