"""What followers accept is stored whole, and taken by the leader once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from builder_framework.domain import events as ev
from builder_framework.errors import ConflictError, NotFoundError, StaleWriteError
from builder_framework.ports import Idempotency
from builder_framework.store.base import CANCEL, SUBMITTED, Change
from builder_framework.store.sql import SqlStore
from tests.contract.builds import PLACEMENT, after, build
from tests.contract.conftest import Open

KEY = Idempotency("k", "f" * 64)


def test_a_submission_is_a_build_and_a_row_for_the_leader(store: SqlStore, opened: Open) -> None:
    one, two = build("b"), build("a", owner="you")
    for each in (one, two):
        assert opened().submit(each, None) == (each, True)
    assert store.unfinished() == [one, two]
    found = [(item.kind, item.build_id, item.by, item.at) for item in store.inbox(10)]
    assert found == [(SUBMITTED, each.id, each.owner, each.created_at) for each in (one, two)]
    assert [item.build_id for item in store.inbox(1)] == [one.id]


def test_a_key_is_one_build_whoever_takes_it(store: SqlStore, opened: Open) -> None:
    mine, theirs = build("a"), build("b")
    store.apply([Change(mine, idempotency=KEY)])
    follower = opened()
    assert follower.submit(theirs, KEY) == (mine, False)
    assert follower.submit(replace(theirs, owner="you"), KEY)[1]
    assert [item.build_id for item in store.inbox(10)] == [theirs.id]
    with pytest.raises(ConflictError, match=f"'k' was used for another request: build {mine.id}"):
        follower.submit(build("c"), Idempotency("k", "0" * 64))


def test_a_key_is_one_build_however_many_use_it_at_once(opened: Open) -> None:
    followers = [opened() for _ in range(4)]
    builds = [build(f"{number:016}") for number in range(12)]
    with ThreadPoolExecutor(len(builds)) as pool:
        calls = [
            pool.submit(followers[number % 4].submit, each, KEY)
            for number, each in enumerate(builds)
        ]
        answers = [call.result() for call in calls]
    (made,) = {stored.id for stored, _ in answers}
    assert sum(fresh for _, fresh in answers) == 1
    assert [item.build_id for item in followers[0].inbox(100)] == [made]
    assert [each.id for each in followers[0].unfinished()] == [made]


def test_a_row_goes_with_the_change_it_asked_for(store: SqlStore, opened: Open) -> None:
    one = build("a")
    follower = opened()
    follower.submit(one, None)
    follower.ask_cancel(one.id, "ann", 7.0)
    submitted, cancel = store.inbox(10)
    assert (cancel.kind, cancel.build_id, cancel.by, cancel.at) == (CANCEL, one.id, "ann", 7.0)
    placed = after(one, ev.Placed(PLACEMENT))
    store.apply([Change(placed, one)], taken=(submitted.seq,))
    assert store.inbox(10) == [cancel]
    with pytest.raises(StaleWriteError):
        store.apply([Change(after(one, ev.CancelRequested("ann")), one)], taken=(cancel.seq,))
    assert store.inbox(10) == [cancel]
    store.apply([], taken=(cancel.seq,))
    assert store.inbox(10) == []


def test_what_is_not_there_cannot_be_cancelled(store: SqlStore) -> None:
    with pytest.raises(NotFoundError):
        store.ask_cancel("0" * 16, "ann", 1.0)
    assert store.inbox(10) == []
