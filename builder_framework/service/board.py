"""The waiting builds: their order, and why each of them waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from builder_framework.domain.model import Build, Resources
from builder_framework.domain.offers import QueuedBuild, RefusalReason
from builder_framework.domain.scheduling import Scheduling
from builder_framework.ports import Refusal, Waiting

_STARTS = Scheduling()

_SENTENCES = {
    RefusalReason.GPUS.value: "are kept for GPU work",
    RefusalReason.MAINTENANCE.value: "have maintenance planned before the build could end",
    RefusalReason.CPUS.value: "have too few cpus free",
    RefusalReason.MEM.value: "have too little memory free",
    RefusalReason.DISK.value: "have too little disk free",
    RefusalReason.SLOTS.value: "have no build slot free",
    RefusalReason.COLDER.value: "lack the cache of another one, which is waited for",
    RefusalReason.PROJECT.value: "must not take more builds of the project, which is at its limit",
    RefusalReason.AVOIDED.value: "are avoided for now, because attempts failed there",
}


def to_match(
    build: Build,
    overhead: Resources,
    avoid: frozenset[str] = frozenset(),
    warm: str | None = None,
    patience: float = 0.0,
    kind: str | None = None,
) -> QueuedBuild:
    """What matching needs of a build; a new executor takes `overhead` on top, and one of this
    `kind` takes it in.

    `warm`: URL of the agent with its cache; `patience`: seconds that it waits for that one.
    """
    request = build.request
    return QueuedBuild(
        build.id,
        request.resources,
        request.timeout,
        request.constraints,
        avoid,
        warm,
        max(build.state_since, build.not_before) + patience,
        overhead,
        kind,
        request.project,
    )


@dataclass
class _Seen:
    """What a build has heard from offers: agent id -> why not."""

    refusals: dict[str, str]
    at: float


class WaitingBoard:
    """Remembers for each waiting build what each agent lacked when it was last offered."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def refused(self, refusals: Mapping[str, Mapping[str, str]], now: float) -> None:
        """Take in the refusals of one round of matching."""
        for build_id, by_agent in refusals.items():
            seen = self._seen.setdefault(build_id, _Seen({}, now))
            seen.refusals.update(by_agent)
            seen.at = now

    def forget(self, build_id: str) -> None:
        """The build waits no more."""
        self._seen.pop(build_id, None)

    def clear(self) -> None:
        """What agents offered under an old subscription says nothing now."""
        self._seen.clear()

    def waiting(
        self,
        build: Build,
        position: int,
        *,
        subscribed: bool,
        now: float,
        scheduling: Scheduling = _STARTS,
    ) -> Waiting:
        """Why `build` waits, for programs and for people."""
        seen = self._seen.get(build.id)
        counts = Counter(seen.refusals.values()) if seen else Counter[str]()
        return Waiting(
            position=position,
            message=(
                _sentence(build, counts, subscribed=subscribed, now=now)
                if scheduling.starts
                else scheduling.sentence()
            ),
            refusals=tuple(Refusal(reason, n) for reason, n in sorted(counts.items())),
            agents_seen=counts.total() if seen else 0,
            last_offer_at=seen.at if seen else None,
        )


def _sentence(build: Build, counts: Counter[str], *, subscribed: bool, now: float) -> str:
    if not subscribed:
        return "not connected to a Mesos master"
    if build.not_before > now:
        return f"the next attempt starts in {build.not_before - now:.0f} s: {build.message}"
    if not counts:
        return "waiting for the next offers"
    total = counts.total()
    parts = [f"{n} of {total} {_reason(reason)}" for reason, n in counts.most_common()]
    return "no agent fits: " + ", ".join(parts)


def _reason(reason: str) -> str:
    kind, _, attribute = reason.partition(":")
    if kind == RefusalReason.CONSTRAINT.value:
        return f"do not meet the constraint on {attribute!r}"
    return _SENTENCES.get(reason, reason)
