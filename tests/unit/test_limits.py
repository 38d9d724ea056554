"""A project's builds run no more at once than they may."""

from __future__ import annotations

import pytest

from builder_framework.domain.projects import Catalog, Project, Quota
from builder_framework.errors import StoreUnavailableError
from builder_framework.service import limits
from builder_framework.service.limits import RunningLimits

pytestmark = pytest.mark.domain


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
