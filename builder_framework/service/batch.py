"""Inputs of one turn of the loop, applied to copies until they are stored together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from builder_framework import failpoints
from builder_framework.cluster import StatusUpdate
from builder_framework.domain import dedupe, deployment, machine
from builder_framework.domain import events as ev
from builder_framework.domain.effects import AnswerLease, Effect
from builder_framework.domain.model import Build, BuildRequest
from builder_framework.domain.notices import Announce, no_notices
from builder_framework.ports import Idempotency
from builder_framework.service.hot import HotBuilds
from builder_framework.service.inputs import Reply
from builder_framework.store.base import Change, KnownKey, Store


@dataclass
class Batch:
    """What one turn wants to change. Nothing of it is true before `store` returned."""

    active: HotBuilds
    database: Store
    now: float
    policy: machine.MachinePolicy
    announce: Announce = no_notices
    builds: dict[str, Build] = field(default_factory=dict)
    previous: dict[str, Build | None] = field(default_factory=dict)
    keys: dict[tuple[str, str], KnownKey] = field(default_factory=dict)
    keys_of: dict[str, list[Idempotency]] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    acknowledge: list[StatusUpdate] = field(default_factory=list)
    replies: list[tuple[Reply, Build]] = field(default_factory=list)
    afterwards: list[Callable[[], None]] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    rung: list[str] = field(default_factory=list)

    def get(self, build_id: str) -> Build:
        """The build as this turn sees it. Raises NotFoundError, StoreUnavailableError."""
        for known in (self.builds, self.active):
            if build_id in known:
                return known[build_id]
        return self.database.get(build_id)

    def step(self, build_id: str, event: ev.Event) -> Build:
        """Feed an event to the machine. Raises like `get`, and InvalidTransitionError."""
        build = None if isinstance(event, ev.Submitted) else self.get(build_id)
        result = machine.step(build, event, self.now, self.policy)
        self.effects.extend(result.effects)
        if result.build is not build:
            self.previous.setdefault(build_id, build)
            self.builds[build_id] = result.build
        return result.build

    def group(self, name: str | None) -> Iterator[Build]:
        """Unfinished builds of a group (`domain.supersede`), as this turn sees them."""
        yield from (build for build in self.active.group(name) if build.id not in self.builds)
        yield from (build for build in self.builds.values() if not build.terminal)

    def attended(self) -> Iterator[Build]:
        """Unfinished builds that somebody has to follow, as this turn sees them."""
        yield from (each for each in self.active.attended() if each.id not in self.builds)
        yield from (
            build
            for build in self.builds.values()
            if build.request.attended is not None and not build.terminal
        )

    def same(self, request: BuildRequest, owner: str) -> Build | None:
        """See `Store.same`; builds that this turn makes are the newest."""
        wanted = dedupe.essence(request)
        for build_id, build in reversed(self.builds.items()):
            if self.previous[build_id] is not None:
                continue
            if dedupe.is_of(build, wanted, owner):
                return build
            if dedupe.retags(build, request):
                return None
        found = self.database.same(request, owner)
        return None if found is None else self.get(found.id)

    def known_key(self, owner: str, key: str) -> KnownKey | None:
        """What an idempotency key was used for, this turn's submissions included."""
        return self.keys.get((owner, key)) or self.database.known_key(owner, key)

    def use_key(self, owner: str, build_id: str, idempotency: Idempotency) -> None:
        """Bind a key to a build that this turn makes, or gives to one more who asked for it."""
        self.keys[owner, idempotency.key] = KnownKey(idempotency.fingerprint, build_id)
        self.keys_of.setdefault(build_id, []).append(idempotency)

    @property
    def changes_anything(self) -> bool:
        """Whether there is something to store."""
        return bool(self.builds or self.taken)

    def store(self) -> None:
        """Make it true, all together. Raises StoreUnavailableError, StaleWriteError."""
        changes = [
            Change(
                build,
                self.previous[build_id],
                tuple(self.keys_of.get(build_id, ())),
                self.announce(self.previous[build_id], build, self.now),
                deployment.due(self.previous[build_id], build, self.now),
            )
            for build_id, build in self.builds.items()
        ]
        if self.changes_anything:
            told = any(change.deliveries for change in changes)
            leased = any(isinstance(e, AnswerLease) and e.granted for e in self.effects)
            self._reach("T9.before", "T12.before")
            failpoints.reach("T14.before", when=told)
            failpoints.reach("T21.before", when=leased)
            self.database.apply(changes, self.taken)
            self._reach("T9.after", "T12.after")
            failpoints.reach("T14.after", when=told)
            failpoints.reach("T21.after", when=leased)

    def _reach(self, running: str, over: str) -> None:
        for build in self.builds.values():
            failpoints.reach_in(build.state, running, over)
