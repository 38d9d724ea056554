"""Big builds get through among many small ones, and nobody waits for ever."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder_framework.domain.holding import AFTER, LASTING, Holds
from builder_framework.domain.load import Held
from builder_framework.domain.model import Constraint, Resources
from builder_framework.domain.offers import Unavailability
from builder_framework.domain.waiting import QueuedBuild
from tests.unit.placing_site import NOW, Site, agent_of, build, offer

pytestmark = pytest.mark.domain

LATER = NOW + AFTER


def big(name: str = "big", cpus: float = 8.0, *wants: Constraint) -> QueuedBuild:
    return build(name, cpus, 512.0, *wants, waiting_since=NOW)


def busy(*agents: str, cpus: float = 6.0) -> Site:
    """Agents of eight cpus, with six of them in our hands, and the rest offered."""
    site = Site().offers(*(offer(each, cpus=8.0 - cpus) for each in agents))
    for number, each in enumerate(agents):
        held = Held(each, 0, "owner ann", None, Resources(cpus, 512.0))
        site.load.put(f"running{number}", held)
    return site


def kept(site: Site, now: float = LATER, holds: Holds | None = None) -> dict[str, str]:
    holds = holds or Holds()
    holds.keep(site.table, site.waiting, site.load, now)
    return dict(holds.agents())


def test_an_agent_is_kept_for_who_waited_long() -> None:
    site = busy("a1").wait(big())
    assert kept(site, LATER - 1.0) == {}
    assert kept(site) == {"a1": "big"}


def test_none_is_kept_that_could_not_have_the_room() -> None:
    assert kept(busy("a1").wait(big(cpus=9.0))) == {}
    assert kept(busy("a1").wait(big("b", 8.0, Constraint("rack", "IS", "z")))) == {}
    site = busy("a1").wait(big()).offers(offer("a1", unavailability=Unavailability(NOW)))
    assert kept(site) == {}
    site = Site().wait(big(cpus=2.0)).offers(offer("a1", cpus=1.0))
    site.load.put("x", Held("a2", 0, "owner ann", None, Resources(9.0)))
    assert kept(site) == {}


def test_the_one_with_most_room_is_kept() -> None:
    site = busy("a1", "a2").offers(offer("a2", cpus=1.0, id="more"))
    assert kept(site.wait(big())) == {"a2": "big"}


def test_few_are_kept() -> None:
    site = busy(*(f"a{n}" for n in range(20))).wait(*(big(f"b{n}") for n in range(4)))
    assert len(kept(site)) == 2
    assert len(kept(busy("a1", "a2").wait(big("b1"), big("b2")))) == 1


def test_no_agent_is_kept_twice() -> None:
    site, holds = busy(*(f"a{n}" for n in range(20))).wait(big("b1")), Holds()
    (first,) = kept(site, LATER, holds)
    site.wait(big("b2"))
    assert kept(site, LATER + 0.5, holds) == {first: "b1"}  # it looks once a second
    both = kept(site, LATER + 1.0, holds)
    assert sorted(both.values()) == ["b1", "b2"]


def test_it_is_let_go_when_the_time_is_over() -> None:
    site, holds = busy("a1").wait(big()), Holds()
    assert kept(site, LATER, holds)
    assert not holds.expire(site.waiting, LATER + LASTING - 1.0)
    assert holds.expire(site.waiting, LATER + LASTING)
    assert kept(site, LATER + LASTING + 1.0, holds) == {}
    assert not holds.expire(site.waiting, LATER + 2 * LASTING)
    assert kept(site, LATER + 2 * LASTING + 1.0, holds) == {"a1": "big"}


def test_it_is_let_go_when_its_build_waits_no_more() -> None:
    site, holds = busy("a1").wait(big()), Holds()
    assert kept(site, LATER, holds)
    site.waiting.remove("big")
    assert holds.expire(site.waiting, LATER)
    assert holds.agents() == {}


def test_a_new_subscription_keeps_nothing() -> None:
    site, holds = busy("a1").wait(big()), Holds()
    assert kept(site, LATER, holds)
    holds.clear()
    assert holds.agents() == {}


# -- nobody waits for ever -------------------------------------------------------------------------

SIZES = (4.0, 4.0, 16.0)
LONGEST = 6
"""Cycles that a build runs at most; a cycle is ten seconds."""


class Cluster:
    """Agents that offer what is free each cycle; builds run for some cycles, as they are told."""

    def __init__(self, rng: random.Random) -> None:
        self.site, self.holds, self.rng = Site(), Holds(), rng
        self.free = {f"a{n}": size for n, size in enumerate(SIZES)}
        self.running: dict[str, tuple[str, float, int]] = {}
        self.started: dict[str, int] = {}
        self.now, self.cycle, self.number = NOW, 0, 0

    def submit(self, sharer: str, cpus: float) -> str:
        self.number += 1
        name = f"{sharer}{self.number:06}"
        changes = {"sharer": sharer, "since": self.now, "waiting_since": self.now}
        self.site.wait(build(name, cpus, 1.0, **changes), now=self.now)
        return name

    def turn(self) -> None:
        self.cycle += 1
        self.now += 10.0
        for name, (agent, cpus, until) in list(self.running.items()):
            if until <= self.cycle:
                del self.running[name]
                self.free[agent] += cpus
                self.site.load.put(name, None)
        site = self.site
        site.table.void()
        site.offers(
            *(offer(a, cpus=free) for a, free in self.free.items() if free > 0), now=self.now
        )
        self.holds.expire(site.waiting, self.now)
        result = site.answer(now=self.now, slots=100, held=self.holds.agents())
        site.placed += len(result.matches)
        for match in result.matches:
            self._start(match.build_id, agent_of(match), match.slot)
        self.holds.keep(site.table, site.waiting, site.load, self.now)

    def _start(self, name: str, agent: str, slot: int) -> None:
        told = self.site.waiting.get(name)
        assert told is not None
        cpus = told.need.resources.cpus
        self.site.waiting.remove(name)
        self.free[agent] -= cpus
        assert self.free[agent] > -0.01
        self.site.load.put(name, Held(agent, slot, told.sharer, None, told.need.resources))
        self.running[name] = agent, cpus, self.cycle + self.rng.randint(1, LONGEST)
        self.started[name] = self.cycle


def flood(cluster: Cluster, cycles: int, rng: random.Random) -> Iterator[int]:
    """More small builds of everybody than there is room for, cycle after cycle."""
    for cycle in range(cycles):
        for sharer in "xyz":
            for _ in range(rng.randint(1, 8)):
                cluster.submit(sharer, rng.choice([0.5, 1.0, 2.0]))
        cluster.turn()
        yield cycle


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from("xyzw"), st.sampled_from([1.0, 4.0, 16.0]))
def test_every_build_that_fits_some_agent_is_launched(seed: int, sharer: str, cpus: float) -> None:
    """Although more comes than fits, for ever, and its own have most of the cluster."""
    rng = random.Random(seed)  # noqa: S311
    cluster = Cluster(rng)
    for _ in flood(cluster, 5, rng):
        pass
    before = len(cluster.site.waiting)
    name = cluster.submit(sharer, cpus)
    # One in eight placements is the oldest's; and a kept agent is empty after the longest build.
    bound = 8 * before + int(AFTER / 10.0) + LONGEST + 20
    for _ in flood(cluster, bound, rng):
        if name in cluster.started:
            return
    pytest.fail(f"{name} waits with {cpus} cpus for {bound} cycles")


def test_without_keeping_an_agent_a_big_one_would_wait_for_ever() -> None:
    """That the test above can fail."""
    rng = random.Random(1)  # noqa: S311
    cluster = Cluster(rng)
    cluster.holds.keep = lambda *_: None  # type: ignore[method-assign]
    for _ in flood(cluster, 5, rng):
        pass
    name = cluster.submit("w", 16.0)
    for _ in flood(cluster, 300, rng):
        pass
    assert name not in cluster.started
