"""Explicit reconciliation repeats with back-off until every task was heard of."""

from __future__ import annotations

import itertools

from builder_framework.mesos.reconcile import PERIOD, Reconciliation


def test_it_asks_for_each_task_with_its_agent_and_for_everything() -> None:
    plan = Reconciliation()
    plan.begin([("b.1", "agent-2"), ("a.1", "agent-1")], now=100.0)
    assert plan.due(100.0) == [[("a.1", "agent-1"), ("b.1", "agent-2")], []]
    assert plan.due(100.5) == []


def test_it_asks_again_for_what_nobody_answered_and_ever_more_rarely() -> None:
    plan = Reconciliation()
    plan.begin([("a.1", "x"), ("b.1", "y")], now=0.0)
    plan.due(0.0)
    plan.heard_of("a.1")
    times = [t / 10 for t in range(1, 3000) if plan.due(t / 10)]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert times[0] == 1.0
    assert gaps == sorted(gaps)
    assert max(gaps) <= 61.0


def test_it_is_quiet_when_all_have_answered() -> None:
    plan = Reconciliation()
    plan.begin([("a.1", "x")], now=0.0)
    plan.due(0.0)
    plan.heard_of("a.1")
    assert plan.due(1.0) == []
    assert plan.due(PERIOD - 1) == []
    assert plan.due(PERIOD) == [[]]


def test_nothing_is_asked_without_a_subscription() -> None:
    plan = Reconciliation()
    plan.begin([("a.1", "x")], now=0.0)
    plan.end()
    assert plan.due(10_000.0) == []
