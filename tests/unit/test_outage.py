"""An operator reads of an outage once, is reminded of it, and reads of its end."""

from __future__ import annotations

import pytest

from builder_framework.service.outage import REMIND_EVERY, OutageLog


def test_an_outage_is_told_when_it_begins_now_and_then_and_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 100.0
    outage = OutageLog("changes of builds", lambda: now)
    outage.over()
    for _ in range(int(REMIND_EVERY * 4) + 1):
        outage.met(OSError("no database"))
        now += 0.25
    outage.over()
    outage.over()
    outage.met(OSError("again"))
    assert [record.getMessage() for record in caplog.records] == [
        "changes of builds must wait: no database",
        "changes of builds still wait after 60 s: no database",
        "changes of builds go on after 60 s",
        "changes of builds must wait: again",
    ]
