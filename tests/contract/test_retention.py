"""What is old goes, with all that belongs to it; what is not over, or still needed, stays."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from builder_framework.audit import Entry, Query
from builder_framework.domain import events as ev
from builder_framework.domain.delivery import Delivery, Try, after_try
from builder_framework.domain.model import Build
from builder_framework.domain.scheduling import Mode, Scheduling
from builder_framework.errors import LeadershipLostError, NotFoundError
from builder_framework.ports import Idempotency
from builder_framework.redact import Secret
from builder_framework.store import tables as t
from builder_framework.store.audit import SqlAudit
from builder_framework.store.base import Change
from builder_framework.store.logs import DatabaseLogs
from builder_framework.store.measures import SqlMeasures
from builder_framework.store.retention import SqlRetention
from builder_framework.store.scheduling import SqlScheduling
from builder_framework.store.sql import SqlStore
from tests.contract.builds import PLACEMENT, after, build
from tests.contract.conftest import Open

DAY = 86400.0


def over(store: SqlStore, name: str, ended: float, *, complete: bool = True) -> Build:
    """A build in the store that ran, and was cancelled at that moment."""
    fresh = build(name)
    key = Idempotency(f"key-{name}", "f")
    store.apply([Change(fresh, keys=(key,))])
    ran = after(fresh, ev.Placed(PLACEMENT), ev.CancelRequested("ann"), ev.TaskKilled(1))
    last = replace(ran, ended_at=ended, log_complete=complete)
    store.apply([Change(last, fresh)])
    DatabaseLogs(store).append(fresh.id, b"log of " + name.encode())
    return last


def there(store: SqlStore, one: Build) -> bool:
    try:
        store.get(one.id)
    except NotFoundError:
        return False
    return True


def rows_of(store: SqlStore, one: Build) -> set[str]:
    """Tables that still know it."""
    found = set()
    with store.reading() as connection:
        for table in t.metadata.sorted_tables:
            if "build_id" in table.c:
                query = sa.select(sa.func.count()).where(table.c.build_id == one.id)
                if connection.execute(query).scalar():
                    found.add(table.name)
    return found


def test_old_builds_go_with_everything_and_stay_counted(store: SqlStore) -> None:
    old, young = over(store, "a", 10 * DAY), over(store, "b", 20 * DAY)
    hook = Delivery("m1", old.id, "build.finished", Secret("https://h/x"), "{}", 1.0, next_at=2.0)
    changed = replace(old, version=old.version + 1)
    store.apply([Change(changed, old, deliveries=(hook,))])
    waiting = build("c")
    store.apply([Change(waiting)])
    removed: list[str] = []
    retention = SqlRetention(store, removed.append)
    assert retention.remove_builds(15 * DAY) == 0, "its webhook is still to be sent"
    made = Try(3.0, 0.1, 200, None)
    store.outbox.record(after_try(hook, made, 0.0), made)
    before = SqlMeasures(store.reading).tallies()
    assert rows_of(store, old) >= {"attempts", "build_images", "deliveries", "idempotency_keys"}
    assert retention.remove_builds(15 * DAY) == 1
    assert removed == [old.id]
    assert not there(store, old)
    assert rows_of(store, old) == set()
    assert there(store, young)
    assert there(store, waiting)
    assert DatabaseLogs(store).size(young.id) > 0
    assert SqlMeasures(store.reading).tallies() == before
    assert retention.remove_builds(15 * DAY) == 0


def test_a_build_with_a_growing_log_or_an_unheard_wish_stays(store: SqlStore, opened: Open) -> None:
    growing = over(store, "a", DAY, complete=False)
    asked = over(store, "b", DAY)
    opened().ask_cancel(asked.id, "ann", 2.0)
    assert SqlRetention(store, lambda _: None).remove_builds(5 * DAY) == 0
    assert there(store, growing)
    assert there(store, asked)


def test_more_than_one_transaction_takes(store: SqlStore) -> None:
    every = [over(store, f"b{number:03}", DAY + number) for number in range(60)]
    removed: list[str] = []
    assert SqlRetention(store, removed.append).remove_builds(DAY + 55) == 55
    assert sorted(removed) == sorted(one.id for one in every[:55])


def test_logs_go_before_their_builds_and_once(store: SqlStore) -> None:
    logs = DatabaseLogs(store)
    first, same, later = (
        over(store, "a", DAY),
        over(store, "b", DAY),
        over(store, "c", 3 * DAY),
    )
    removed: list[str] = []
    retention = SqlRetention(store, removed.append)
    assert retention.remove_logs(2 * DAY) == 2
    assert sorted(removed) == sorted([first.id, same.id])
    assert logs.size(first.id) == logs.size(same.id) == 0
    assert logs.size(later.id) > 0
    assert there(store, first)
    assert retention.remove_logs(2 * DAY) == 0
    assert retention.remove_logs(4 * DAY) == 1
    assert logs.size(later.id) == 0


def test_only_the_leader_removes(store: SqlStore, opened: Open) -> None:
    one = over(store, "a", DAY)
    removed: list[str] = []
    retention = SqlRetention(store, removed.append)
    opened().lead("another", None)
    with pytest.raises(LeadershipLostError):
        retention.remove_builds(5 * DAY)
    with pytest.raises(LeadershipLostError):
        retention.remove_logs(5 * DAY)
    assert removed == []
    assert there(store, one)


def entry(at: float, user: str | None = "ann", action: str = "build.cancel") -> Entry:
    return Entry(at, user, None, action, "b\0", 202, "10.0.0.9", "r-1")


def test_the_audit_trail_is_read_newest_first_and_forgotten_by_age(store: SqlStore) -> None:
    audit = SqlAudit(store)
    audit.add([entry(float(n), "ann" if n % 2 else None) for n in range(7)])
    page, following = audit.page(Query(limit=4))
    assert [each.at for each in page] == [6.0, 5.0, 4.0, 3.0]
    rest, end = audit.page(Query(limit=4, before=following))
    assert [each.at for each in rest] == [2.0, 1.0, 0.0]
    assert end is None
    assert [each.at for each in audit.page(Query(user="ann"))[0]] == [5.0, 3.0, 1.0]
    assert audit.forget(3.0) == 3
    assert [each.at for each in audit.page(Query())[0]] == [6.0, 5.0, 4.0, 3.0]


def test_every_process_sees_whether_builds_are_started(store: SqlStore, opened: Open) -> None:
    leader, follower = SqlScheduling(store), SqlScheduling(opened())
    assert follower.read() == Scheduling()
    paused = leader.turn(Mode.PAUSED, "ann", 5.0)
    assert follower.read() == paused == Scheduling(Mode.PAUSED, "ann", 5.0)
    assert follower.turn(Mode.PAUSED, "bob", 6.0) == paused
    assert follower.turn(Mode.RUNNING, "bob", 7.0) == leader.read()
    assert leader.on_agents() == 0
    runs = after(build("a"), ev.Placed(PLACEMENT))
    store.apply([Change(runs)])
    assert follower.on_agents() == 1
