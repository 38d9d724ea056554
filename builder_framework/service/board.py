"""The waiting builds: their order, and why each of them waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from builder_framework.domain import refusals
from builder_framework.domain.agent_table import AgentTable
from builder_framework.domain.model import Build
from builder_framework.domain.offers import RefusalReason
from builder_framework.domain.scheduling import Scheduling
from builder_framework.domain.waiting import Waiting as Queue
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
    RefusalReason.HELD.value: "are kept for builds that need much and waited long",
    RefusalReason.PROJECT.value: "must not take more builds of the project, which is at its limit",
    RefusalReason.AVOIDED.value: "are avoided for now, because attempts failed there",
}


class WaitingBoard:
    """Tells for each waiting build what each agent lacked when it was last offered."""

    def __init__(
        self, table: AgentTable, queue: Queue, outlook: Callable[[float], refusals.Outlook]
    ) -> None:
        self._table = table
        self._queue = queue
        self._outlook = outlook

    def waiting(
        self,
        build: Build,
        *,
        subscribed: bool,
        now: float,
        scheduling: Scheduling = _STARTS,
    ) -> Waiting:
        """Why `build` waits, for programs and for people."""
        known = self._queue.get(build.id)
        counts = Counter[str]()
        last, seen = None, 0
        if known is not None:
            seen, last = refusals.offered(self._table, known.waiting_since)
            counts = refusals.of_build(self._table, known, self._outlook(now))
        return Waiting(
            position=self._queue.position(build.id) or 1,
            message=(
                _sentence(build, counts, subscribed=subscribed, now=now)
                if scheduling.starts
                else scheduling.sentence()
            ),
            refusals=tuple(Refusal(reason, n) for reason, n in sorted(counts.items())),
            agents_seen=seen,
            last_offer_at=last,
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
