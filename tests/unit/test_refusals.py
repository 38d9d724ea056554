"""Why agents do not take a build, as people and programs are told."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from builder_framework.domain import refusals
from builder_framework.domain.model import Constraint, Resources
from builder_framework.domain.offers import Unavailability
from builder_framework.domain.refusals import Outlook
from builder_framework.domain.waiting import Need, QueuedBuild
from tests.unit.placing_site import EXECUTOR, NOW, Site, build, offer, url

pytestmark = pytest.mark.domain


def why(site: Site, told: QueuedBuild, now: float = NOW, **outlook: Any) -> dict[str, int]:
    return dict(refusals.of_build(site.table, told, Outlook(now, **outlook)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gpus": 1.0}, "gpu_agent"),
        ({"unavailability": Unavailability(1300.0, 60.0)}, "agent_maintenance"),
        ({"unavailability": Unavailability(900.0, None)}, "agent_maintenance"),
        ({"resources": Resources(0.5, 100.0)}, "insufficient_cpus"),
        ({"resources": Resources(4.0, 100.0)}, "insufficient_mem"),
        ({"resources": Resources(4.0, 4096.0, 100.0)}, "insufficient_disk"),
        ({"attributes": {"rack": "b"}, "resources": Resources()}, "constraint:rack"),
    ],
)
def test_each_refusal_has_its_name(changes: dict[str, Any], reason: str) -> None:
    need = Need(Resources(1.0, 512.0, 500.0), 600.0, (Constraint("rack", "IS", "a"),))
    told = build("b", need=need)
    site = Site().wait(told).offers(offer(**changes))
    site.answer()
    assert why(site, told) == {reason: 1}
    assert refusals.by_agent(site.table, Counter({need: 3}), Outlook(NOW)) == {
        site.table.row_of("a1"): Counter({reason: 3})
    }


def test_what_was_left_by_others_counts() -> None:
    site = Site().wait(build("a", cpus=3.0), build("b", cpus=2.0)).offers(offer(), offer("a2", 1.0))
    site.answer()
    assert why(site, build("b", cpus=2.0)) == {"insufficient_cpus": 2}


def test_slots_are_ours_to_count() -> None:
    site = Site().wait(build("b")).offers(offer()).hold("x", "a1", 0)
    site.answer(slots=1)
    assert why(site, build("b")) == {"no_free_slot": 1}


def test_only_what_was_offered_since_it_waits_counts() -> None:
    site = Site().offers(offer("early", 0.1), now=1.0).offers(offer("late", 0.1), now=5.0)
    told = build("b", waiting_since=2.0)
    assert why(site, told) == {"insufficient_cpus": 1}
    assert refusals.offered(site.table, 2.0) == (1, 5.0)
    assert refusals.offered(site.table, 6.0) == (0, None)
    assert why(site, replace(told, waiting_since=6.0), limited=frozenset()) == {}


def test_an_executor_that_is_there_needs_no_room() -> None:
    told = build("b", need=Need(Resources(1.0), 600.0, (), EXECUTOR, "ann"))
    site = Site().wait(told).offers(offer("a1", cpus=1.0), offer("a2", cpus=1.0))
    there = frozenset({("a1", "ann"), ("gone", "ann")})
    assert why(site, told, executors=there) == {"insufficient_cpus": 1}
    assert why(site, told) == {"insufficient_cpus": 2}


def test_agents_that_are_avoided_or_kept() -> None:
    told = build("b", shunned=frozenset({"a1"}), picky_until=NOW + 20.0)
    site = Site().wait(told).offers(offer("a1"), offer("a2"), offer("a3"), offer("a4"))
    outlook: dict[str, Any] = {
        "avoided": frozenset({"a2"}),
        "held": {"a3": "other", "a4": "b"},
    }
    assert why(site, told, **outlook) == {"agent_avoided": 2, "held_for_another": 1}
    assert why(site, told, NOW + 20.0, **outlook) == {"held_for_another": 1}
    found = refusals.by_agent(site.table, Counter({told.need: 1}), Outlook(NOW, **outlook))
    reasons = {site.table.agent(row).first.agent_id: dict(c) for row, c in found.items()}
    assert reasons == {
        "a2": {"agent_avoided": 1},
        "a3": {"held_for_another": 1},
        "a4": {"held_for_another": 1},
    }


def test_who_waits_for_its_cache_says_so() -> None:
    told = build("b", warm=url("warm"), patient_until=NOW + 5.0)
    site = Site().wait(told).offers(offer("roomy"), offer("warm", 0.1))
    assert why(site, told) == {"colder_cache": 1, "insufficient_cpus": 1}
    assert why(site, told, NOW + 5.0) == {"insufficient_cpus": 1}


def test_a_project_at_its_limit_is_told_before_all() -> None:
    told = build("b", cpus=64.0, project="shop")
    site = Site().wait(told)
    assert why(site, told, limited=frozenset({"shop"})) == {}
    site.offers(offer("a1"), offer("a2"))
    assert why(site, told, limited=frozenset({"shop"})) == {"project_limit": 2}
