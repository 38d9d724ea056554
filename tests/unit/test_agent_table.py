"""The table of agents says of each row what its agent offered, however rows come and go."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.domain import agent_table
from builder_framework.domain.agent_table import AgentTable
from builder_framework.domain.model import Constraint, Resources
from builder_framework.domain.offers import Offer, Unavailability, satisfies, value_of
from tests.unit.placing_site import NOW, Site, offer, url

pytestmark = pytest.mark.domain


def open_agents(table: AgentTable) -> list[str]:
    return sorted(table.agent(int(row)).first.agent_id for row in table.open_rows())


def meeting(table: AgentTable, *constraints: Constraint) -> set[str]:
    mask = table.meeting(constraints)
    return {agent_id for agent_id, row in table.agents() if mask[row]}


def test_an_agent_is_open_until_it_is_answered() -> None:
    table = Site().offers(offer("a1"), offer("a2")).table
    assert open_agents(table) == ["a1", "a2"]
    row = table.row_of("a1")
    assert row is not None
    table.answered([row])
    assert open_agents(table) == ["a2"]
    assert table.agent(row).first.agent_id == "a1"
    assert (table.row_at(url("a1")), table.row_at("http://x"), table.row_of("x")) == (
        row,
        None,
        None,
    )


def test_an_offer_that_is_void_is_offered_no_more() -> None:
    table = Site().offers(offer(id="o1", cpus=1.0), offer(id="o2", cpus=2.0)).table
    table.rescind("o1")
    (row,) = table.open_rows().tolist()
    assert table.columns.cpus[row] == 2.0
    table.rescind("o2")
    table.rescind("o2")
    assert open_agents(table) == []


def test_a_new_subscription_voids_all() -> None:
    table = Site().offers(offer("a1", id="o1"), offer("a1", id="o2"), offer("a2")).table
    assert table.void() == 3
    assert open_agents(table) == []
    assert len(table) == 2
    assert table.columns.offered_at.max() == -math.inf
    assert table.columns.heard_at.max() == NOW


def test_what_was_not_heard_of_is_forgotten() -> None:
    site = Site().offers(offer("old"), now=1.0).offers(offer("new"), now=2.0)
    site.table.forget(2.0)
    assert [name for name, _ in site.table.agents()] == ["new"]
    assert open_agents(site.table) == ["new"]
    with pytest.raises(LookupError, match="no agent"):
        site.table.agent(63)


def test_an_agent_that_registers_anew_is_one_agent() -> None:
    table = Site().offers(offer("a1")).offers(offer("a2", agent_url=url("a1"))).table
    assert [name for name, _ in table.agents()] == ["a2"]


def test_maintenance_is_remembered() -> None:
    table = Site().offers(offer(unavailability=Unavailability(5.0, 60.0))).table
    (row,) = table.open_rows().tolist()
    assert (table.columns.begins[row], table.columns.ends[row]) == (5.0, 65.0)
    assert not table.allows(row, (), 0.0, 10.0)
    assert table.allows(row, (), 70.0, 80.0)


def test_an_agent_may_change_its_attributes() -> None:
    site = Site().offers(offer(attributes={"rack": "a"}))
    rack = Constraint("rack", "EQUALS", "b")
    assert meeting(site.table, rack) == set()
    site.offers(offer(attributes={"rack": "b"}))
    assert meeting(site.table, rack) == {"a1"}
    assert meeting(site.table, rack, Constraint("rack", "UNLIKE", "b")) == set()
    row = site.table.row_of("a1") or 0
    assert site.table.allows(row, (rack,), 0.0, 1.0)


def test_more_constraints_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_table, "MASKS", 2)
    monkeypatch.setattr(agent_table, "COLUMNS", 1)
    table = Site().offers(offer(attributes={"rack": "a", "zone": "z"})).table
    for _ in range(2):
        for attribute, value in (("rack", "a"), ("zone", "z"), ("hostname", "a1.example.org")):
            assert meeting(table, Constraint(attribute, "EQUALS", value)) == {"a1"}
            assert meeting(table, Constraint(attribute, "EQUALS", "x")) == set()


agents = st.builds(
    lambda name, rack, number: offer(name, attributes={"rack": rack}, id=str(number)),
    st.integers(0, 150).map(lambda n: f"a{n}"),
    st.sampled_from("abc"),
    st.uuids(),
)
NONE: list[Offer] = []
told = st.one_of(
    st.tuples(st.just("offer"), st.lists(agents, max_size=30, unique_by=lambda o: o.agent_id)),
    st.tuples(st.just("answer"), st.just(NONE)),
    st.tuples(st.just("forget"), st.just(NONE)),
)
wanted = st.sampled_from([("rack", "EQUALS", "a"), ("hostname", "LIKE", "a1.*")])


@given(st.lists(st.tuples(told, wanted), max_size=8))
def test_whatever_comes_the_table_is_what_was_said_last(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    table = AgentTable()
    last: dict[str, Offer] = {}
    heard: dict[str, int] = {}
    for now, ((what, offers), words) in enumerate(steps):
        if what == "offer":
            table.offer(offers, float(now))
            for each in offers:
                last[each.agent_id], heard[each.agent_id] = each, now
        elif what == "answer":
            table.answered(table.open_rows().tolist())
        else:
            table.forget(float(now - 1))
            for name in [n for n, at in heard.items() if at < now - 1]:
                del last[name], heard[name]
        constraint = Constraint(*words)
        assert {name for name, _ in table.agents()} == set(last)
        those = {n for n, o in last.items() if satisfies(constraint, value_of(words[0], o))}
        assert meeting(table, constraint) == those


def test_there_is_room_for_more() -> None:
    site, rack = Site().offers(offer("a0")), Constraint("rack", "EQUALS", "a")
    assert meeting(site.table, rack) == {"a0"}
    many = [f"a{n}" for n in range(200)]
    site.offers(*(offer(name, cpus=1.0) for name in many[1:]))
    assert open_agents(site.table) == sorted(many)
    assert meeting(site.table, rack) == set(many)
    assert float(site.table.columns.cpus.sum()) == 4.0 + 199.0


def test_a_table_that_changes_for_ever_stays_small() -> None:
    site, rack = Site(), Constraint("rack", "EQUALS", "a")
    for number in range(600):
        site.offers(offer(attributes={"rack": "ab"[number % 2]}))
        assert meeting(site.table, rack) == ({"a1"} if number % 2 == 0 else set())
    assert len(site.table.columns.cpus) == 64


def test_what_is_left_is_what_is_said() -> None:
    table = Site().offers(offer()).table
    (row,) = table.open_rows().tolist()
    table.left([(row, 1.0, 2.0, 3.0, 4)])
    columns = table.columns
    found = Resources(*(float(c[row]) for c in (columns.cpus, columns.mem, columns.disk)))
    assert (found, int(columns.slots[row])) == (Resources(1.0, 2.0, 3.0), 4)
