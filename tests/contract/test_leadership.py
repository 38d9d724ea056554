"""One leads; whoever led before, or never did, changes no build."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from builder_framework.domain import events as ev
from builder_framework.errors import LeadershipLostError, NotFoundError
from builder_framework.store import leadership
from builder_framework.store.base import Change
from builder_framework.store.sql import SqlStore
from tests.contract.builds import after, build
from tests.contract.conftest import Open

WRITES: list[Callable[[SqlStore], None]] = [
    lambda store: store.apply([Change(build("b"))]),
    lambda store: store.apply([], taken=(1,)),
    lambda store: store.save_framework_id("theirs"),
    lambda store: store.check_leadership(),
]


@pytest.mark.parametrize("write", WRITES)
def test_who_never_led_does_not_write(opened: Open, write: Callable[[SqlStore], None]) -> None:
    with pytest.raises(LeadershipLostError, match="nobody does"):
        write(opened())


@pytest.mark.parametrize("write", WRITES)
def test_who_led_before_does_not_write_any_more(
    opened: Open, write: Callable[[SqlStore], None]
) -> None:
    """It may not know: after a pause of minutes it goes on in the middle of a sentence."""
    old, new = opened(), opened()
    assert old.leader() is None
    first = old.lead("old:1", None)
    old.apply([Change(build("a"))])
    second = new.lead("new:2", "http://new:8080")
    assert second > first
    with pytest.raises(LeadershipLostError, match="new:2"):
        write(old)
    with pytest.raises(NotFoundError):
        new.get(build("b").id)
    assert new.framework_id() is None
    new.check_leadership()
    leader = old.leader()
    assert leader is not None
    assert (leader.token, leader.holder, leader.url) == (second, "new:2", "http://new:8080")


def test_nothing_of_the_old_leader_comes_after_the_new_one(opened: Open) -> None:
    """The old one's transaction is at work while the new one is elected."""
    old, new = opened(), opened()
    old.lead("old", None)
    order: list[str] = []

    def take_over() -> None:
        new.lead("new", None)
        order.append("leads")

    with old.leading():
        thread = threading.Thread(target=take_over)
        thread.start()
        thread.join(0.3)
        order.append("commits")
    thread.join()
    assert order == ["commits", "leads"]


def test_leadership_is_held_by_the_same_store_again(opened: Open) -> None:
    store = opened()
    store.lead("here", None)
    store.lead("here", None)
    one = build("a")
    store.apply([Change(one)])
    store.apply([Change(after(one, ev.CancelRequested("ann")), one)])
    assert store.unfinished() == []


def test_a_database_has_one_row_of_leadership(store: SqlStore) -> None:
    store.lead("again", None)
    with store.reading() as connection:
        assert leadership.current(connection) == store.leader()
        assert connection.exec_driver_sql("SELECT count(*) FROM leadership").scalar() == 1
