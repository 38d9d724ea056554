"""Who waits: in which order, and who stands aside for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.domain.waiting import Waiting
from tests.unit.placing_site import NOW, build, url

pytestmark = pytest.mark.domain


def ready(waiting: Waiting) -> list[str]:
    heads = [waiting.ready(each) for each in waiting.sharers()]
    return sorted(id_ for each in heads for queue in each.queues.values() for _, id_ in queue)


def test_builds_are_in_order_and_know_their_place() -> None:
    waiting = Waiting()
    waiting.put(build("late", since=9.0), NOW)
    waiting.put(build("early", since=1.0), NOW)
    waiting.put(build("same", since=1.0), NOW)
    assert waiting.first(2) == (["early", "same"], 3)
    assert [waiting.position(each) for each in ("early", "same", "late", "x")] == [1, 2, 3, None]
    waiting.put(build("late", since=0.5), NOW)
    assert waiting.first(1) == (["late"], 3)
    waiting.remove("late")
    waiting.remove("late")
    assert (len(waiting), waiting.get("late")) == (2, None)


def test_a_page_of_some_projects() -> None:
    waiting = Waiting()
    for name, project in (("a", "shop"), ("b", None), ("c", "blog"), ("d", "shop")):
        waiting.put(build(name, project=project), NOW)
    assert waiting.first(2, ["shop", "blog", "none"]) == (["a", "c"], 3)
    assert waiting.first(5, [None]) == (["b"], 1)
    assert waiting.first(5, []) == ([], 0)
    waiting.remove("b")
    assert waiting.first(5, [None]) == ([], 0)


def test_a_backoff_is_slept_through() -> None:
    waiting = Waiting()
    waiting.put(build("b", not_before=NOW + 5.0), NOW)
    assert not waiting.awake()
    assert len(waiting) == 1
    assert not waiting.needs()
    waiting.wake(NOW + 4.0)
    assert not waiting.awake()
    waiting.wake(NOW + 5.0)
    assert waiting.awake()
    assert ready(waiting) == ["b"]


def test_after_its_backoff_it_may_wait_for_its_cache() -> None:
    waiting = Waiting()
    again = build("b", not_before=NOW + 5.0, warm=url("a"), patient_until=NOW + 10.0)
    waiting.put(again, NOW)
    waiting.wake(NOW + 5.0)
    assert [(at, each.build_id) for at, each in waiting.patient()] == [(url("a"), "b")]
    assert waiting.awake()
    waiting.wake(NOW + 10.0)
    assert ready(waiting) == ["b"]
    assert not waiting.any_patient()


def test_those_who_wait_for_one_agent_are_in_order() -> None:
    waiting = Waiting()
    for name in "bac":
        waiting.put(build(name, warm=url("a"), patient_until=NOW + 9.0), NOW)
    assert [each.build_id for _, each in waiting.patient()] == ["a", "b", "c"]
    waiting.impatient("b")
    assert ready(waiting) == ["b"]
    waiting.remove("a")
    waiting.wake(NOW + 9.0)
    assert ready(waiting) == ["b", "c"]


def test_an_alarm_of_before_wakes_nobody() -> None:
    waiting = Waiting()
    waiting.put(build("b", not_before=NOW + 5.0), NOW)
    waiting.put(build("b", not_before=NOW + 50.0), NOW)
    waiting.put(build("gone", not_before=NOW + 5.0), NOW)
    waiting.remove("gone")
    waiting.wake(NOW + 6.0)
    assert not waiting.awake()


def test_what_is_needed_is_counted() -> None:
    waiting = Waiting()
    for name, cpus in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        waiting.put(build(name, cpus), NOW)
    ((need, number),) = waiting.needs().most_common(1)
    assert (need.resources.cpus, number) == (1.0, 2)
    waiting.remove("c")
    assert list(waiting.needs().values()) == [2]


def test_who_shuns_agents_is_known() -> None:
    waiting = Waiting()
    waiting.put(build("b", shunned=frozenset({"a1"})), NOW)
    assert waiting.any_shunning()
    waiting.remove("b")
    assert not waiting.any_shunning()


steps = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.sampled_from(["put", "remove", "wake", "impatient"]),
        st.sampled_from([0.0, 5.0, 10.0]),
        st.sampled_from([0.0, 5.0, 10.0]),
    ),
    max_size=40,
)


@given(steps)
def test_whatever_happens_each_build_stands_somewhere_once(
    steps: list[tuple[str, str, float, float]],
) -> None:
    waiting, known, now = Waiting(), set[str](), 0.0
    for name, what, first, second in steps:
        if what == "put":
            warm = url("a") if second else None
            told = build(name, 1.0 + first, not_before=now + first, warm=warm)
            waiting.put(replace(told, patient_until=now + second), now)
            known.add(name)
        elif what == "remove":
            waiting.remove(name)
            known.discard(name)
        elif what == "wake":
            now += first
            waiting.wake(now)
        elif any(each.build_id == name for _, each in waiting.patient()):
            waiting.impatient(name)
        patient = [each.build_id for _, each in waiting.patient()]
        assert len(waiting) == len(known)
        assert set(patient) | set(ready(waiting)) <= known
        assert waiting.needs().total() == len(patient) + len(ready(waiting))
        assert waiting.awake() is bool(patient or ready(waiting))
        for each in waiting.sharers():
            queues = waiting.ready(each)
            assert list(queues.heads) == sorted((q[0], n) for n, q in queues.queues.items())
    waiting.wake(now + 100.0)
    assert set(ready(waiting)) == known
