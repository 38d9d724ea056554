"""Rounds pack offers, are fair, and let nothing block what fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.domain import placing
from builder_framework.domain.load import Held, Load, cost
from builder_framework.domain.model import Constraint, Resources
from builder_framework.domain.offers import Offer, Unavailability
from builder_framework.domain.placing import OLDEST_EACH, Placed, idle_to_end
from builder_framework.domain.waiting import Need, QueuedBuild
from tests.unit import strategies
from tests.unit.placing_site import EXECUTOR, NOW, Site, agent_of, build, offer, places, url

pytestmark = pytest.mark.domain


def placed(result: Placed) -> list[str]:
    return [match.build_id for match in result.matches]


def test_several_builds_share_one_offer() -> None:
    site = Site().wait(build("b1"), build("b2"), build("b3")).offers(offer(cpus=2.5))
    result = site.run()
    assert placed(result) == ["b1", "b2"]
    assert [match.slot for match in result.matches] == [0, 1]
    assert not result.more
    assert not result.full


def test_a_build_that_fits_nowhere_does_not_block_the_next() -> None:
    site = Site().wait(build("b1 huge", cpus=64.0), build("b2 small")).offers(offer())
    assert placed(site.run()) == ["b2 small"]


def test_what_needs_more_than_what_fits_nowhere_is_not_tried() -> None:
    site = Site().wait(build("b1", cpus=64.0), build("b2", cpus=65.0), build("b3", cpus=2.0))
    assert placed(site.offers(offer()).run()) == ["b3"]


def test_offers_of_one_agent_are_used_together() -> None:
    halves = [offer(cpus=1.0, mem=300.0, id="o1"), offer(cpus=1.0, mem=300.0, id="o2")]
    for site in (Site().offers(*halves), Site().offers(halves[0]).offers(halves[1])):
        (found,) = site.wait(build("b", cpus=2.0, mem=600.0)).run().matches
        assert {o.id for o in found.agent.offers} == {"o1", "o2"}


def test_builds_spread_over_agents() -> None:
    site = Site().wait(build("b1"), build("b2")).offers(offer("a1"), offer("a2"))
    assert set(places(site.run()).values()) == {"a1", "a2"}


def test_a_slot_in_use_is_never_given_twice() -> None:
    site = Site().wait(build("b1"), build("b2")).offers(offer())
    result = site.hold("x", "a1", 0).hold("y", "a1", 2).run(slots=3)
    assert [(m.build_id, m.slot) for m in result.matches] == [("b1", 1)]
    assert result.full


def test_nothing_is_placed_without_offers_or_when_nothing_may_start() -> None:
    assert Site().wait(build("b")).run().matches == ()
    assert Site().wait(build("b")).offers(offer()).run(most=0).matches == ()


def test_a_round_has_an_end_and_says_so() -> None:
    site = Site().wait(*(build(f"b{n}", cpus=0.1) for n in range(4))).offers(offer())
    result = site.run(most=3)
    assert (placed(result), result.more) == (["b0", "b1", "b2"], True)


@pytest.mark.parametrize(
    "changes",
    [
        {"gpus": 1.0},
        {"unavailability": Unavailability(1300.0, 60.0)},
        {"unavailability": Unavailability(900.0, None)},
        {"resources": Resources(0.5, 4096.0, 1000.0)},
        {"resources": Resources(4.0, 100.0, 1000.0)},
        {"resources": Resources(4.0, 4096.0, 100.0)},
        {"attributes": {"rack": "b"}},
    ],
)
def test_an_agent_that_will_not_do_gets_nothing(changes: dict[str, Any]) -> None:
    need = Need(Resources(1.0, 512.0, 500.0), 600.0, (Constraint("rack", "IS", "a"),))
    wanting = QueuedBuild("b", need, 1.0, "owner ann")
    assert places(Site().wait(wanting).offers(offer(**changes)).run()) == {}
    assert places(Site().wait(wanting).offers(offer()).run()) == {"b": "a1"}


@pytest.mark.parametrize("window", [Unavailability(100.0, 60.0), Unavailability(5000.0, 60.0)])
def test_maintenance_that_is_over_or_far_away_does_not_matter(window: Unavailability) -> None:
    assert Site().wait(build("b")).offers(offer(unavailability=window)).run().matches


# -- caches ----------------------------------------------------------------------------------------


def wanting(name: str, until: float = NOW + 5.0, **changes: Any) -> QueuedBuild:
    return build(name, warm=url("warm"), patient_until=until, **changes)


def test_a_build_goes_where_its_cache_is() -> None:
    """Although another agent has more room."""
    for until in (NOW + 5.0, NOW - 5.0):
        site = Site().wait(wanting("b", until))
        assert places(site.offers(offer("roomy", 64.0), offer("warm", 1.0)).run()) == {"b": "warm"}


def test_a_build_waits_for_its_cache_for_a_while_and_no_longer() -> None:
    site = Site().wait(wanting("b")).offers(offer("roomy"), offer("warm", cpus=0.1))
    assert places(site.run()) == {}
    assert site.waiting.any_patient()
    assert places(site.run(now=NOW + 5.0)) == {"b": "roomy"}
    assert not site.waiting.any_patient()


def test_a_warm_agent_that_is_not_offered_is_waited_for() -> None:
    assert places(Site().wait(wanting("b")).offers(offer("roomy")).run()) == {}
    site = Site().wait(wanting("b", until=NOW))
    assert places(site.offers(offer("roomy")).run()) == {"b": "roomy"}


@pytest.mark.parametrize(
    "changes",
    [
        {"gpus": 1.0},
        {"unavailability": Unavailability(NOW)},
        {"attributes": {"rack": "b"}},
    ],
)
def test_a_warm_agent_that_will_not_do_is_not_waited_for(changes: dict[str, Any]) -> None:
    rack = Constraint("rack", "EQUALS", "a")
    need = Need(Resources(1.0, 512.0), 600.0, (rack,))
    site = Site().wait(wanting("b", need=need)).offers(offer("roomy"), offer("warm", **changes))
    assert places(site.run()) == {"b": "roomy"}


def test_a_warm_agent_on_which_it_failed_is_not_waited_for() -> None:
    shunning = wanting("b", shunned=frozenset({"warm", "gone"}), picky_until=NOW + 9.0)
    site = Site().wait(shunning).offers(offer("roomy"), offer("warm"))
    assert places(site.run()) == {"b": "roomy"}


def test_who_waits_for_a_cache_keeps_nobody_else_out() -> None:
    site = Site().wait(wanting("a patient"), build("b other")).offers(offer("roomy"))
    assert places(site.run()) == {"b other": "roomy"}


# -- agents that are avoided -----------------------------------------------------------------------


def test_an_avoided_agent_is_taken_when_patience_is_over() -> None:
    site = Site().wait(build("b", picky_until=NOW + 20.0)).offers(offer("bad"))
    avoided = frozenset({"bad"})
    assert places(site.run(avoided=avoided)) == {}
    assert places(site.run(avoided=avoided, now=NOW + 20.0)) == {"b": "bad"}
    site = Site().wait(build("b", picky_until=NOW + 20.0)).offers(offer("bad"), offer("good", 1.0))
    assert places(site.run(avoided=avoided)) == {"b": "good"}


def test_a_build_that_shuns_all_there_is_lets_others_of_its_kind_pass() -> None:
    own = build("b1", shunned=frozenset({"a1"}), picky_until=NOW + 20.0)
    site = Site().wait(own, build("b2")).offers(offer())
    assert places(site.run()) == {"b2": "a1"}
    assert places(Site().wait(own).offers(offer()).run(now=NOW + 20.0)) == {"b1": "a1"}


def test_an_agent_avoided_by_all_is_not_warm() -> None:
    picky = wanting("b", picky_until=NOW + 20.0)
    site = Site().wait(picky).offers(offer("warm"), offer("other", 1.0))
    assert places(site.run(avoided=frozenset({"warm"}))) == {"b": "other"}


# -- executors -------------------------------------------------------------------------------------


def sharing(name: str, cpus: float, kind: str | None = "ann") -> QueuedBuild:
    return build(name, need=Need(Resources(cpus), 600.0, (), EXECUTOR, kind))


def test_builds_of_a_kind_pay_for_one_executor() -> None:
    queue = [sharing("b1", 1.0), sharing("b2", 1.0), sharing("other", 1.0, "bob")]
    assert placed(Site().wait(*queue).offers(offer(cpus=2.5)).run()) == ["b1", "b2"]
    assert placed(Site().wait(*queue).offers(offer(cpus=4.0)).run()) == ["b1", "b2", "other"]


def test_an_executor_that_is_there_is_paid_for() -> None:
    there = frozenset({("a1", "ann"), ("gone", "ann")})

    def one(build: QueuedBuild, **around: Any) -> tuple[Any, ...]:
        return Site().wait(build).offers(offer(cpus=1.0)).run(**around).matches

    assert one(sharing("b", 1.0), executors=there)
    assert not one(sharing("b", 1.0))
    assert not one(sharing("b", 1.0, None), executors=there)


def test_many_executors_of_a_kind_are_looked_at_together() -> None:
    names = [f"a{n}" for n in range(40)]
    there = frozenset((name, "ann") for name in names)
    site = Site().offers(*(offer(name, cpus=1.0) for name in names), offer("roomy", cpus=1.2))
    site.wait(*(sharing(f"b{n}", 1.0) for n in range(45)))
    result = site.run(executors=there)
    assert {agent_of(match) for match in result.matches} == set(names)
    assert len(result.matches) == 40


@pytest.mark.parametrize(
    ("cpus", "idle", "expected"), [(3.5, 4, 0), (3.6, 4, 1), (4.5, 4, 2), (9.0, 4, 0), (4.5, 1, 0)]
)
def test_as_few_idle_executors_end_as_must(cpus: float, idle: int, expected: int) -> None:
    need = sharing("b", cpus).need
    assert idle_to_end(need, Resources(4.0, 4096.0), idle, EXECUTOR) == expected


# -- fairness --------------------------------------------------------------------------------------


def of(sharer: str, name: str, **changes: Any) -> QueuedBuild:
    return build(name, sharer=f"owner {sharer}", **changes)


def test_who_has_least_on_agents_is_next() -> None:
    """However many builds another has waiting, and however long."""
    flood = [of("ann", f"a{n}", since=1.0) for n in range(6)]
    site = Site().wait(*flood, of("bob", "b1", since=900.0), of("bob", "b2", since=901.0))
    result = site.offers(offer(cpus=4.0)).run()
    assert placed(result) == ["a0", "b1", "a1", "b2"]


def test_what_runs_already_counts() -> None:
    site = Site().wait(of("ann", "a1", since=1.0), of("bob", "b1", since=900.0))
    site.hold("x", "a9", 0, "owner ann")
    assert placed(site.offers(offer(cpus=1.0)).run()) == ["b1"]


def test_a_share_is_what_it_takes_most_of() -> None:
    assert cost(Resources(2.0, 512.0)) == 2.0
    assert cost(Resources(1.0, 8192.0)) == 4.0


def test_each_so_many_placements_the_oldest_is_next() -> None:
    """Whoever always has more than others would wait for ever."""
    site = Site().wait(of("ann", "old", since=1.0), of("bob", "new", since=900.0))
    site.hold("x", "a9", 0, "owner ann").placed = OLDEST_EACH - 1
    assert placed(site.offers(offer(cpus=1.0)).run()) == ["old"]
    assert placed(site.offers(offer(cpus=4.0)).run()) == ["old", "new"]


def test_the_oldest_that_does_not_fit_leaves_its_turn() -> None:
    site = Site().wait(of("ann", "old", need=build("", 64.0).need), of("bob", "new", since=900.0))
    site.placed = OLDEST_EACH - 1
    assert placed(site.offers(offer(cpus=1.0)).run()) == ["new"]


def test_a_project_has_no_more_builds_than_it_may() -> None:
    shop = [replace(of("x", f"s{n}"), sharer="project shop", project="shop") for n in range(3)]
    site = Site().wait(*shop, of("bob", "b1")).offers(offer())
    result = site.run(room={"shop": 1})
    assert sorted(placed(result)) == ["b1", "s0"]
    assert result.full


def test_a_project_is_counted_while_its_builds_run() -> None:
    load = Load()
    for name in ("x", "y"):
        load.put(name, Held("a1", 0, "project shop", "shop", Resources(1.0)))
    assert load.of_project("shop") == 2
    load.put("x", None)
    assert load.of_project("shop") == 1
    load.put("y", None)
    assert vars(load) == vars(Load())


def test_more_needs_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "_BYTES", 0)
    names = [f"b{n:03}" for n in range(150)]
    site = Site().wait(*(build(each, 0.001 * (1 + n % 70)) for n, each in enumerate(names)))
    assert placed(site.offers(offer(cpus=64.0, mem=1e6)).run(slots=200)) == names


# -- agents that are kept --------------------------------------------------------------------------


def test_an_agent_that_is_kept_takes_nobody_else() -> None:
    site = Site().wait(build("a small"), build("b big", cpus=4.0)).offers(offer("kept"))
    held = {"kept": "b big", "gone": "c"}
    assert places(site.run(held=held)) == {"b big": "kept"}
    site = Site().wait(build("a small"), build("b big", cpus=9.0)).offers(offer("kept"))
    assert places(site.run(held=held)) == {}
    site.offers(offer("other"))
    assert places(site.run(held=held)) == {"a small": "other"}


# -- whatever comes --------------------------------------------------------------------------------

queues = st.lists(
    st.builds(
        QueuedBuild,
        build_id=st.uuids().map(str),
        need=st.builds(
            Need,
            resources=strategies.resources,
            duration=st.just(600.0),
            constraints=st.lists(
                st.builds(
                    Constraint,
                    st.sampled_from(["rack", "hostname"]),
                    st.sampled_from(["EQUALS", "UNLIKE"]),
                    strategies.names,
                ),
                max_size=1,
            ).map(tuple),
            executor=st.just(EXECUTOR),
            kind=st.sampled_from([None, "ann", "bob"]),
        ),
        since=st.floats(0.0, 900.0),
        sharer=st.sampled_from(["owner ann", "owner bob"]),
        shunned=st.sampled_from([frozenset(), frozenset({"a1"})]),
        picky_until=st.sampled_from([0.0, NOW + 9.0]),
        warm=st.none() | st.sampled_from([url("a1"), url("a2")]),
        patient_until=st.sampled_from([0.0, NOW + 9.0]),
    ),
    max_size=12,
)
many_offers = st.lists(
    st.builds(
        lambda agent, number, resources, rack: Offer(
            str(number), agent, agent, url(agent), resources, {"rack": rack} if rack else {}
        ),
        st.sampled_from(["a1", "a2", "a3"]),
        st.uuids(),
        strategies.resources,
        st.none() | strategies.names,
    ),
    max_size=8,
)


@given(queues, many_offers, st.integers(1, 4), st.integers(0, OLDEST_EACH))
def test_no_agent_is_overbooked_and_nothing_that_fits_is_left(
    queue: list[QueuedBuild], offers: list[Offer], slots: int, before: int
) -> None:
    site = Site(placed=before).wait(*queue).offers(*offers)
    avoided = frozenset({"a3"})
    turn = site.round(slots=slots, avoided=avoided)
    result = turn.run()
    by_id = {each.build_id: each for each in queue}
    assert len(set(placed(result))) == len(result.matches)
    left = {}
    for agent_id in {each.agent_id for each in offers}:
        here = [m for m in result.matches if agent_of(m) == agent_id]
        kinds = {by_id[m.build_id].need.kind for m in here} - {None}
        alone = sum(by_id[m.build_id].need.kind is None for m in here)
        total = sum((by_id[m.build_id].need.resources for m in here), Resources())
        total += sum([EXECUTOR] * (len(kinds) + alone), Resources())
        have = sum((o.resources for o in offers if o.agent_id == agent_id), Resources())
        rest = have - total
        assert min(rest.cpus, rest.mem, rest.disk) > -0.01
        assert len({m.slot for m in here}) == len(here) <= slots
        left[agent_id] = rest, slots - len(here)
    for each in queue:
        ready = each.warm is None or each.patient_until <= NOW
        if each.build_id in placed(result) or not ready or each.need.constraints:
            continue
        for agent_id, (rest, free) in left.items():
            whole = each.need.whole
            fits = rest.cpus >= whole.cpus and rest.mem >= whole.mem and rest.disk >= whole.disk
            kept_away = each.picky_until > NOW and (agent_id in avoided | each.shunned)
            assert kept_away or free == 0 or not fits
    assert {row for row, *_ in turn.left()} == set(turn.rows.tolist())


def test_load_is_what_it_was_when_all_is_over() -> None:
    site = Site().hold("x", "a1", 0).hold("y", "a1", 1, "project shop")
    site.hold("x", "a1", 0)
    assert site.load.on_agent("a1") == Resources(2.0, 1024.0)
    assert dict(site.load.agents()) == {"a1": Resources(2.0, 1024.0)}
    site.load.put("x", None)
    assert site.load.slots("a1") == {1}
    site.load.put("y", None)
    empty = Load()
    assert vars(site.load) == vars(empty)
