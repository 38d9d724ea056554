"""A project's builds run no more at once than they may."""

from __future__ import annotations

import pytest

from builder_framework.domain.model import Resources
from builder_framework.domain.offers import Offer, QueuedBuild, match
from builder_framework.domain.projects import Catalog, Project, Quota
from builder_framework.errors import StoreUnavailableError
from builder_framework.service import limits
from builder_framework.service.limits import RunningLimits

pytestmark = pytest.mark.domain

ROOM = Resources(100.0, 100_000.0)


def test_limits_are_read_now_and_then_and_outlive_the_database() -> None:
    now, calls = [0.0], [0]
    catalog = [Catalog([Project("a", quota=Quota(max_running=2)), Project("b")])]

    def read() -> Catalog:
        calls[0] += 1
        if not catalog:
            raise StoreUnavailableError("away")
        return catalog[0]

    tested = RunningLimits(read, lambda: now[0])
    assert tested() == tested() == {"a": 2}
    assert calls == [1]
    catalog[0] = Catalog([Project("a", quota=Quota(max_running=0))])
    now[0] += limits.FRESH
    assert tested() == {"a": 0}
    catalog.clear()
    now[0] += limits.FRESH
    assert tested() == {"a": 0}


def test_a_full_project_is_in_nobodys_way() -> None:
    """Its next build says what it waits for; those of others go on."""
    queue = [
        QueuedBuild(f"{project}{number}", Resources(1.0, 1.0), 60.0, project=project)
        for number in range(3)
        for project in ("shop", "lab", None)
    ]
    offer = Offer("o", "agent", "host", "http://h:5051", ROOM)
    result = match(
        queue, [offer], now=0.0, slots_in_use={}, slots_per_agent=100, room={"shop": 2, "gone": -1}
    )
    placed = [found.build_id for found in result.matches]
    assert placed == ["shop0", "lab0", "None0", "shop1", "lab1", "None1", "lab2", "None2"]
    assert result.refusals == {"shop2": {"agent": "project_limit"}}
