"""`examine` finds what must never be in a database, and nothing in one that is well."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.domain import events as ev
from builder_framework.domain import machine
from builder_framework.domain.states import State
from builder_framework.errors import StoreUnavailableError
from builder_framework.protocol import Phase, PushedImage, Reason, Report
from builder_framework.store.base import Change
from builder_framework.store.check import examine, faults
from builder_framework.store.logs import DatabaseLogs
from builder_framework.store.sql import SqlStore
from tests.contract.builds import PLACEMENT, POLICY, after, build
from tests.contract.test_migrations import load
from tests.sealing import SEALER

DONE = Report(digest="sha256:1", images=(PushedImage("x", "sha256:1"),))
RUNNING = (ev.Placed(PLACEMENT), ev.TaskProgressed(1, Report(phase=Phase.BUILDING)))
NEWS = st.integers(1, 3).flatmap(
    lambda attempt: st.sampled_from(
        [
            ev.TaskSeen(attempt),
            ev.TaskProgressed(attempt, Report(phase=Phase.BUILDING)),
            ev.TaskSucceeded(attempt, DONE),
            ev.TaskFailed(attempt, Reason.STEP_FAILED, "no"),
            ev.TaskKilled(attempt),
            ev.TaskNeverStarted(attempt, Reason.LAUNCH_FAILED, "no"),
            ev.TaskLost(attempt, Reason.AGENT_LOST, "no"),
            ev.TaskMissing(attempt, "no"),
            ev.TaskUnreachable(attempt),
            ev.LogStarted(attempt, 0),
        ]
    )
)
OTHER = st.sampled_from(
    [
        ev.Placed(PLACEMENT),
        ev.CancelRequested("ann"),
        ev.QueueExpired(),
        ev.StagingExpired(),
        ev.RunExpired(),
        ev.KillRetryDue(),
        ev.StopExpired(),
        ev.UnreachableExpired(),
        ev.LogCompleted(),
    ]
)


@given(st.lists(NEWS | OTHER, max_size=15))
def test_no_story_of_a_build_is_a_contradiction(events: list[ev.Event]) -> None:
    told = build("a")
    for number, event in enumerate(events):
        try:
            told = machine.step(told, event, 2.0 + number, POLICY).build
        except machine.InvalidTransitionError:
            continue
        assert list(faults(told)) == []


def test_a_database_that_is_well_is_counted(store: SqlStore, store_url: str) -> None:
    store.apply([Change(build("a")), Change(build("b"))])
    store.submit(build("c"), None)
    store.apply([Change(after(build("a"), *RUNNING), build("a"))])
    DatabaseLogs(store).append(build("a").id, b"one")
    DatabaseLogs(store).append(build("a").id, b"two")
    found = examine(store_url, SEALER)
    assert found.problems == ()
    assert found.builds == {"QUEUED": 2, "RUNNING": 1}
    counted = {name: found.rows[name] for name in ("attempts", "inbox", "log_chunks")}
    assert counted == {"attempts": 1, "inbox": 1, "log_chunks": 2}


def test_contradictions_are_named_with_their_build(store: SqlStore, store_url: str) -> None:
    running = after(build("a"), *RUNNING)
    wrong = [
        replace(running, id="over".ljust(16, "0"), state=State.FAILED, ended_at=5.0),
        replace(build("b"), id="lonely".ljust(16, "0"), state=State.STAGING),
        replace(build("c"), id="never".ljust(16, "0"), state=State.CANCELLED),
    ]
    wrong[0] = replace(wrong[0], attempts=(replace(running.attempts[0], task_id="over.1"),))
    store.apply([Change(running), *map(Change, wrong)])
    DatabaseLogs(store).append(running.id, b"one")
    with store.writing() as connection:
        connection.exec_driver_sql('UPDATE log_chunks SET "offset" = 7')
        connection.exec_driver_sql("UPDATE builds SET phase = 'SLEEPING' WHERE id LIKE 'a%%'")
    assert set(examine(store_url, SEALER).problems) == {
        "build over000000000000: it is FAILED, and its attempts [1] are not over",
        "build lonely0000000000: it is STAGING without an attempt",
        "build never00000000000: it is CANCELLED and never ended",
        "build a000000000000000: it cannot be read: ValueError",
        "the log of build a000000000000000 goes on at 7 after 0 bytes",
    }


def test_rows_of_nothing_are_named(tmp_path: Path) -> None:
    """SQLite keeps foreign keys only in sessions that ask for it."""
    url = f"sqlite:///{tmp_path / 'builder.db'}"
    store = SqlStore(url, SEALER)
    store.lead("here", None)
    store.apply([Change(build("a"))])
    store.close()
    other = sqlite3.connect(tmp_path / "builder.db")
    with other:
        other.execute("DELETE FROM builds")
    other.close()
    expected = {
        f"{table} has rows of {build('a').id}, which is not in builds"
        for table in ("build_images", "build_labels")
    }
    assert set(examine(url, SEALER).problems) == expected


def test_damage_of_the_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "builder.db"
    store = SqlStore(f"sqlite:///{path}", SEALER)
    store.lead("here", None)
    store.apply([Change(build(f"{number:016}")) for number in range(300)])
    store.close()
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 8192] = b"\xff" * 8192
    path.write_bytes(data)
    assert examine(f"sqlite:///{path}", SEALER).problems != ()


def test_an_older_schema_is_told_and_not_changed(store_url: str) -> None:
    load("0001", store_url)
    for _ in range(2):
        found = examine(store_url, SEALER)
        assert found.schema == "0001"
        assert "this version knows only" in found.problems[0]


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "builder.db"
    with pytest.raises(StoreUnavailableError, match="there is no database"):
        examine(f"sqlite:///{path}", SEALER)
    assert not path.exists()
