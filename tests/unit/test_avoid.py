"""Agents on which attempts fail are avoided for a while, and never for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builder_framework.domain import avoid
from builder_framework.domain import events as ev
from builder_framework.domain.model import Attempt
from builder_framework.domain.states import State
from builder_framework.protocol import Reason
from tests.unit.test_machine import PLACEMENT, queued, running, step

pytestmark = pytest.mark.domain

POLICY = avoid.AvoidPolicy(failures=2, window=600.0, patience=20.0)


def failed(agent: str, reason: Reason) -> Attempt:
    placement = replace(PLACEMENT, agent_id=agent)
    return Attempt(1, "b.1", placement, placed_at=0.0, ended_at=1.0, reason=reason)


def after(*failures: tuple[str, Reason, float]) -> avoid.Record:
    record: avoid.Record = {}
    for agent, reason, at in failures:
        record = avoid.note(record, failed(agent, reason), at, POLICY)
    return record


def test_an_agent_that_fails_repeatedly_is_avoided_for_a_while() -> None:
    record = after(("a", Reason.EXECUTOR_LOST, 10.0))
    assert avoid.avoided(record, 11.0, POLICY) == frozenset()
    record = after(("a", Reason.EXECUTOR_LOST, 10.0), ("a", Reason.DISK_FULL, 50.0))
    assert avoid.avoided(record, 51.0, POLICY) == {"a"}
    assert avoid.avoided(record, 611.0, POLICY) == frozenset()
    assert avoid.avoided_until(record, "a", 51.0, POLICY) == 610.0
    assert avoid.avoided_until(record, "a", 611.0, POLICY) is None
    assert avoid.avoided_until(record, "b", 51.0, POLICY) is None


def test_what_is_not_the_agents_fault_does_not_count() -> None:
    record = after(("a", Reason.STEP_FAILED, 1.0), ("a", Reason.AGENT_LOST, 2.0))
    assert record == {}


def test_a_build_that_succeeds_on_an_agent_rehabilitates_it() -> None:
    record = after(("a", Reason.EXECUTOR_LOST, 1.0), ("b", Reason.EXECUTOR_LOST, 1.0))
    assert set(avoid.forgive(record, "a")) == {"b"}


def test_a_build_keeps_away_from_where_it_failed() -> None:
    again = step(running(), ev.TaskLost(1, Reason.EXECUTOR_LOST, "gone"), 100.0).build
    assert again.state is State.QUEUED
    assert avoid.failed_on(again) == {"agent"}
    assert avoid.failed_on(queued()) == frozenset()
