"""What the database counts: as it is read by every process, whatever becomes of builds and us."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builder_framework.domain import events as ev
from builder_framework.domain.delivery import Delivery
from builder_framework.domain.states import State
from builder_framework.domain.tally import Metric, Tally
from builder_framework.errors import StaleWriteError
from builder_framework.redact import Secret
from builder_framework.store.base import Change
from builder_framework.store.measures import SqlMeasures, Standing
from builder_framework.store.sql import SqlStore
from tests.contract.builds import PLACEMENT, after, build
from tests.contract.conftest import Open


def test_sums_grow_with_the_transaction_that_ends_builds(store: SqlStore, opened: Open) -> None:
    first, second, third = build("a"), build("b"), build("c")
    store.apply([Change(first), Change(second), Change(third)])
    ends = [after(each, ev.CancelRequested("ann")) for each in (first, second, third)]
    store.apply([Change(ends[0], first), Change(ends[1], second)])
    store.apply([Change(ends[2], third)])
    with pytest.raises(StaleWriteError):
        store.apply([Change(ends[2], third)])
    follower = SqlMeasures(opened().reading)
    found = follower.tallies()
    assert sorted(found, key=lambda each: each.metric) == [
        Tally(Metric.DURATION, ("cancelled",), "1.0", 3, 3.0),
        Tally(Metric.ENDED, ("cancelled", "cancelled"), "", 3, 0.0),
    ]


def test_what_is_under_way(store: SqlStore) -> None:
    nothing = {state: 0 for state in State if state.value not in _OVER}
    assert SqlMeasures(store.reading).standing() == Standing(nothing, None, 0, None)
    waits, later, runs = build("a"), build("b"), build("c")
    later = replace(later, created_at=8.0)
    hook = Delivery("m", waits.id, "build.queued", Secret("https://h/x"), "{}", 5.0, next_at=6.0)
    store.apply([Change(waits, deliveries=(hook,)), Change(later), Change(runs)])
    store.apply([Change(after(runs, ev.Placed(PLACEMENT)), runs)])
    assert SqlMeasures(store.reading).standing() == Standing(
        {**nothing, State.QUEUED: 2, State.STAGING: 1}, 1.0, 1, 5.0
    )


_OVER = ("SUCCEEDED", "FAILED", "CANCELLED")
