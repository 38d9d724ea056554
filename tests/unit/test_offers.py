"""Matching packs offers, names why it refuses, and lets nothing block what fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.domain.model import Constraint, Resources
from builder_framework.domain.offers import (
    MatchResult,
    Offer,
    QueuedBuild,
    Unavailability,
    compile_pattern,
    idle_to_end,
    match,
    merge,
    satisfies,
)
from builder_framework.errors import InvalidValueError
from tests.unit import strategies

pytestmark = pytest.mark.domain


def offer(agent: str = "a1", cpus: float = 4.0, mem: float = 4096.0, **changes: object) -> Offer:
    made = Offer(
        id=f"offer-{agent}",
        agent_id=agent,
        hostname=f"{agent}.example.org",
        agent_url="http://10.0.0.1:5051",
        resources=Resources(cpus, mem, 1000.0),
        attributes={"rack": "a", "ssd": "true"},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def build(name: str, cpus: float = 1.0, mem: float = 512.0, *wants: Constraint) -> QueuedBuild:
    return QueuedBuild(name, Resources(cpus, mem), 600.0, wants)


def matched(queue: list[QueuedBuild], offers: list[Offer], **options: object) -> MatchResult:
    chosen: dict[str, object] = {"now": 1000.0, "slots_in_use": {}, "slots_per_agent": 8}
    return match(queue, offers, **(chosen | options))  # type: ignore[arg-type]


def test_several_builds_share_one_offer() -> None:
    result = matched([build("b1"), build("b2"), build("b3")], [offer(cpus=2.5)])
    assert [m.build_id for m in result.matches] == ["b1", "b2"]
    assert [m.slot for m in result.matches] == [0, 1]
    assert result.refusals == {"b3": {"a1": "insufficient_cpus"}}


def test_a_build_that_fits_nowhere_does_not_block_the_next() -> None:
    result = matched([build("huge", cpus=64.0), build("small")], [offer()])
    assert [m.build_id for m in result.matches] == ["small"]
    assert result.refusals == {"huge": {"a1": "insufficient_cpus"}}


def test_offers_of_one_agent_are_used_together() -> None:
    halves = [offer(cpus=1.0, mem=300.0, id="o1"), offer(cpus=1.0, mem=300.0, id="o2")]
    (found,) = matched([build("b", cpus=2.0, mem=600.0)], halves).matches
    assert [o.id for o in found.agent.offers] == ["o1", "o2"]


def test_builds_spread_over_agents() -> None:
    result = matched([build("b1"), build("b2")], [offer("a1"), offer("a2")])
    assert {m.agent.first.agent_id for m in result.matches} == {"a1", "a2"}


def test_unused_agents_are_told_so_that_they_can_be_declined() -> None:
    result = matched([build("b", 1.0, 512.0, Constraint("rack", "IS", "b"))], [offer("a1")])
    assert [agent.first.agent_id for agent in result.unused] == ["a1"]


def test_a_slot_in_use_is_never_given_twice() -> None:
    used = {"a1": frozenset({0, 2})}
    result = matched([build("b1"), build("b2")], [offer()], slots_in_use=used, slots_per_agent=3)
    assert [(m.build_id, m.slot) for m in result.matches] == [("b1", 1)]
    assert result.refusals == {"b2": {"a1": "no_free_slot"}}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gpus": 1.0}, "gpu_agent"),
        ({"unavailability": Unavailability(1300.0, 60.0)}, "agent_maintenance"),
        ({"unavailability": Unavailability(900.0, None)}, "agent_maintenance"),
        ({"resources": Resources(0.5, 4096.0)}, "insufficient_cpus"),
        ({"resources": Resources(4.0, 100.0)}, "insufficient_mem"),
        ({"resources": Resources(4.0, 4096.0, 100.0)}, "insufficient_disk"),
        ({"attributes": {"rack": "b"}}, "constraint:rack"),
    ],
)
def test_each_refusal_has_its_name(changes: dict[str, Any], reason: str) -> None:
    rack = (Constraint("rack", "IS", "a"),)
    wanting = QueuedBuild("b", Resources(1.0, 512.0, 500.0), 600.0, rack)
    assert matched([wanting], [replace(offer(), **changes)]).refusals == {"b": {"a1": reason}}
    assert matched([wanting], [offer()]).matches


@pytest.mark.parametrize("window", [Unavailability(100.0, 60.0), Unavailability(5000.0, 60.0)])
def test_maintenance_that_is_over_or_far_away_does_not_matter(window: Unavailability) -> None:
    assert matched([build("b")], [offer(unavailability=window)]).matches


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        (("rack", "EQUALS", "a"), True),
        (("rack", "CLUSTER", "a"), True),
        (("rack", "IS", "b"), False),
        (("rack", "LIKE", "a|b"), True),
        (("rack", "LIKE", "[b-z]"), False),
        (("ssd", "LIKE", "tru"), False),  # the whole value has to match
        (("rack", "UNLIKE", "b.*"), True),
        (("hostname", "LIKE", r"a\d+\.example\.org"), True),
        (("zone", "EQUALS", "a"), False),
        (("zone", "LIKE", ".*"), False),
        (("zone", "UNLIKE", "a"), True),
    ],
)
def test_constraints_mean_what_marathon_says(
    constraint: tuple[str, str, str], expected: bool
) -> None:
    """A missing attribute fails everything but UNLIKE."""
    assert satisfies(Constraint(*constraint), offer()) is expected


def test_a_hostile_pattern_takes_no_time() -> None:
    """A backtracking engine would be busy with this one until the sun burns out."""
    patient = offer(hostname="a" * 200)
    assert not satisfies(Constraint("hostname", "LIKE", "(a+)+$b"), patient)
    with pytest.raises(InvalidValueError, match="RE2"):
        compile_pattern("(a")


queues = st.lists(
    st.builds(
        QueuedBuild,
        build_id=st.uuids().map(str),
        resources=strategies.resources,
        duration=strategies.seconds,
        constraints=st.lists(strategies.constraints, max_size=1).map(tuple),
    ),
    max_size=12,
)
many_offers = st.lists(
    st.builds(
        Offer,
        id=st.uuids().map(str),
        agent_id=st.sampled_from(["a1", "a2", "a3"]),
        hostname=st.just("host"),
        agent_url=st.just("http://10.0.0.1:5051"),
        resources=strategies.resources,
        attributes=st.dictionaries(st.sampled_from(["rack", "ssd"]), strategies.names),
    ),
    max_size=8,
)


@given(queues, many_offers, st.integers(1, 4))
def test_no_agent_is_overbooked_and_every_build_and_agent_is_accounted_for(
    queue: list[QueuedBuild], offers: list[Offer], slots: int
) -> None:
    result = matched(queue, offers, slots_per_agent=slots)
    by_id = {b.build_id: b for b in queue}
    placed = [m.build_id for m in result.matches]
    assert sorted([*placed, *result.refusals]) == sorted(by_id)
    for agent_id in {o.agent_id for o in offers}:
        here = [m for m in result.matches if m.agent.first.agent_id == agent_id]
        total = sum((by_id[m.build_id].resources for m in here), Resources())
        have = sum((o.resources for o in offers if o.agent_id == agent_id), Resources())
        assert total.cpus <= have.cpus + 0.01
        assert total.mem <= have.mem + 0.01
        assert total.disk <= have.disk + 0.01
        assert len({m.slot for m in here}) == len(here) <= slots
        unused = any(agent.first.agent_id == agent_id for agent in result.unused)
        assert unused is (not here)
    for refusals in result.refusals.values():
        assert set(refusals) == {o.agent_id for o in offers}


WARM = "http://10.0.0.2:5051"


def wanting(name: str, until: float = 1005.0) -> QueuedBuild:
    return replace(build(name), warm=WARM, patient_until=until)


def places(result: MatchResult) -> dict[str, str]:
    return {m.build_id: m.agent.first.agent_id for m in result.matches}


def test_a_build_goes_where_its_cache_is() -> None:
    """Although another agent has more room."""
    agents = [offer("roomy", cpus=64.0), offer("warm", cpus=1.0, agent_url=WARM)]
    assert places(matched([wanting("b")], agents)) == {"b": "warm"}


def test_a_build_waits_for_its_cache_for_a_while_and_no_longer() -> None:
    agents = [offer("roomy"), offer("warm", cpus=0.1, agent_url=WARM)]
    result = matched([wanting("b")], agents)
    assert places(result) == {}
    assert result.refusals == {"b": {"roomy": "colder_cache", "warm": "insufficient_cpus"}}
    assert places(matched([wanting("b")], agents, now=1005.0)) == {"b": "roomy"}


def test_a_warm_agent_that_is_not_offered_is_waited_for() -> None:
    assert places(matched([wanting("b")], [offer("roomy")])) == {}
    assert places(matched([wanting("b", until=1000.0)], [offer("roomy")])) == {"b": "roomy"}


@pytest.mark.parametrize(
    "changes",
    [
        {"gpus": 1.0},
        {"unavailability": Unavailability(1000.0)},
        {"attributes": {"rack": "b"}},
    ],
)
def test_a_warm_agent_that_will_not_do_is_not_waited_for(changes: dict[str, Any]) -> None:
    rack = Constraint("rack", "EQUALS", "a")
    want = replace(wanting("b"), constraints=(rack,))
    agents = [offer("roomy"), offer("warm", agent_url=WARM, **changes)]
    assert places(matched([want], agents)) == {"b": "roomy"}
    avoiding = replace(wanting("b"), avoid=frozenset({"warm"}))
    agents = [offer("roomy"), offer("warm", agent_url=WARM)]
    assert places(matched([avoiding], agents)) == {"b": "roomy"}


def test_who_waits_for_a_cache_keeps_nobody_else_out() -> None:
    result = matched([wanting("patient"), build("other")], [offer("roomy")])
    assert places(result) == {"other": "roomy"}


EXECUTOR = Resources(0.5, 100.0)


def sharing(name: str, cpus: float, kind: str | None = "ann") -> QueuedBuild:
    return QueuedBuild(name, Resources(cpus), 600.0, executor=EXECUTOR, kind=kind)


def test_builds_of_a_kind_pay_for_one_executor() -> None:
    queue = [sharing("b1", 1.0), sharing("b2", 1.0), sharing("other", 1.0, "bob")]
    result = matched(queue, [offer(cpus=2.5)])
    assert [m.build_id for m in result.matches] == ["b1", "b2"]
    assert [m.build_id for m in matched(queue, [offer(cpus=4.0)]).matches] == ["b1", "b2", "other"]


def test_an_executor_that_is_there_is_paid_for() -> None:
    there = frozenset({("a1", "ann")})
    assert matched([sharing("b", 1.0)], [offer(cpus=1.0)], executors=there).matches
    assert not matched([sharing("b", 1.0)], [offer(cpus=1.0)]).matches
    assert not matched([sharing("b", 1.0, None)], [offer(cpus=1.0)], executors=there).matches


@pytest.mark.parametrize(
    ("cpus", "idle", "expected"), [(3.5, 4, 0), (3.6, 4, 1), (4.5, 4, 2), (9.0, 4, 0), (4.5, 1, 0)]
)
def test_as_few_idle_executors_end_as_must(cpus: float, idle: int, expected: int) -> None:
    (agent,) = merge([offer(cpus=4.0)])
    assert idle_to_end(sharing("b", cpus), agent, idle, EXECUTOR, 1000.0) == expected
