"""What builds hold on agents, kept as they come and go: asked at every decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import ItemsView
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from builder_framework.domain.model import Resources

UNIT = Resources(1.0, 2048.0)
"""What one build has, if nobody says otherwise: shares are counted in such builds."""


_NO_SLOTS: Counter[int] = Counter()


@dataclass(frozen=True)
class Held:
    """By one build: a slot of an agent, and resources in the name of whoever has the share."""

    agent_id: str
    slot: int
    sharer: str
    project: str | None
    resources: Resources


def cost(resources: Resources) -> float:
    """In builds of UNIT, by what it takes most of (dominant share, Ghodsi et al., NSDI 2011)."""
    return max(resources.cpus / UNIT.cpus, resources.mem / UNIT.mem)


class Load:
    """Belongs to the loop's thread."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._slots: dict[str, Counter[int]] = {}
        self._of_agent: dict[str, Resources] = {}
        self._shares: dict[str, float] = {}
        self._numbers: Counter[str] = Counter()
        self._projects: Counter[str] = Counter()

    def put(self, build_id: str, held: Held | None) -> None:
        """What a build holds now; None: nothing any more."""
        before = self._held.get(build_id)
        if before == held:
            return
        if before is not None:
            self._remove(build_id, before)
        if held is not None:
            self._add(build_id, held)

    def slots(self, agent_id: str) -> AbstractSet[int]:
        """Numbers in use on an agent."""
        return self._slots.get(agent_id, _NO_SLOTS).keys()

    def on_agent(self, agent_id: str) -> Resources:
        """What builds have there, without their executors."""
        return self._of_agent.get(agent_id, Resources())

    def agents(self) -> ItemsView[str, Resources]:
        """Agent ids, and what builds have there."""
        return self._of_agent.items()

    def share(self, sharer: str) -> float:
        """What is held in the name of `sharer`, in builds of UNIT."""
        return self._shares.get(sharer, 0.0)

    def of_project(self, project: str) -> int:
        """How many builds of it are on agents."""
        return self._projects[project]

    def _add(self, build_id: str, held: Held) -> None:
        self._held[build_id] = held
        self._slots.setdefault(held.agent_id, Counter())[held.slot] += 1
        self._of_agent[held.agent_id] = self.on_agent(held.agent_id) + held.resources
        self._shares[held.sharer] = self.share(held.sharer) + cost(held.resources)
        self._numbers[held.sharer] += 1
        if held.project is not None:
            self._projects[held.project] += 1

    def _remove(self, build_id: str, held: Held) -> None:
        del self._held[build_id]
        slots = self._slots[held.agent_id]
        slots[held.slot] -= 1
        if not slots[held.slot]:
            del slots[held.slot]
        self._of_agent[held.agent_id] -= held.resources
        if not slots:
            del self._slots[held.agent_id], self._of_agent[held.agent_id]
        self._shares[held.sharer] -= cost(held.resources)
        self._numbers[held.sharer] -= 1
        if not self._numbers[held.sharer]:
            # Sums of floats would leave a rest.
            del self._numbers[held.sharer], self._shares[held.sharer]
        if held.project is not None:
            self._projects[held.project] -= 1
            if not self._projects[held.project]:
                del self._projects[held.project]
