"""A process that does not lead answers from the store, as truly as it can."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder_framework.domain.model import Supersede
from builder_framework.domain.notices import no_notices
from builder_framework.domain.states import State
from builder_framework.errors import ConflictError, NotFoundError
from builder_framework.ports import Idempotency, ListQuery
from builder_framework.service import follower
from builder_framework.service.follower import Follower
from builder_framework.service.logs import LogStore
from builder_framework.store.base import SUBMITTED
from builder_framework.store.sql import SqlStore
from tests.contract.test_builds_port import KEY, REQUEST
from tests.sealing import SEALER


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    made = SqlStore(f"sqlite:///{tmp_path / 'builder.db'}", SEALER)
    yield made
    made.close()


@pytest.fixture
def builds(store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Follower:
    monkeypatch.setattr(follower, "_CANCEL_PATIENCE", 0.2)
    return Follower(store, LogStore(tmp_path / "logs"), time.time, no_notices)


def test_what_it_accepts_waits_for_a_leader_with_its_position(
    builds: Follower, store: SqlStore
) -> None:
    made = [builds.submit(REQUEST, "ann")[0].build.id for _ in range(3)]
    assert [(item.kind, item.build_id) for item in store.inbox(10)] == [
        (SUBMITTED, build_id) for build_id in made
    ]
    page = builds.list(ListQuery()).builds
    positions = {view.build.id: view.waiting.position for view in page if view.waiting}
    assert positions == {build_id: number for number, build_id in enumerate(made, start=1)}
    waiting = builds.get(made[1]).waiting
    assert waiting is not None
    assert (waiting.position, waiting.message) == (
        2,
        "why is known to the leader: nobody has led yet",
    )


def test_keys_hold_for_it_as_for_a_leader(builds: Follower) -> None:
    first, fresh = builds.submit(REQUEST, "ann", KEY)
    again, replayed = builds.submit(REQUEST, "ann", KEY)
    assert (again.build.id, fresh, replayed) == (first.build.id, True, False)
    with pytest.raises(ConflictError):
        builds.submit(REQUEST, "ann", Idempotency("k", "0" * 64))


def test_a_cancellation_without_a_leader_is_written_down(builds: Follower, store: SqlStore) -> None:
    build_id = builds.submit(REQUEST, "ann")[0].build.id
    assert builds.cancel(build_id, "bob").build.state is State.QUEUED
    assert [(item.kind, item.by) for item in store.inbox(10)][1:] == [("cancel", "bob")]


def test_it_says_who_leads(builds: Follower, store: SqlStore) -> None:
    store.lead("node7:12", "http://node7")
    readiness = builds.readiness()
    assert readiness.ready
    assert readiness.checks["mesos"] == "node7:12 leads (http://node7)"


def test_a_watch_notices_a_change_and_nothing_else(builds: Follower, tmp_path: Path) -> None:
    build_id = builds.submit(REQUEST, "ann")[0].build.id
    with builds.watch(build_id) as watch:
        assert watch.wait(0.0)
        assert not watch.wait(0.0)
        LogStore(tmp_path / "logs").append(build_id, b"x")
        assert watch.wait(0.0)


def test_what_it_does_not_have_it_does_not_have(builds: Follower) -> None:
    for ask in (builds.get, builds.deliveries, lambda b: builds.read_log(b, 0, 10)):
        with pytest.raises(NotFoundError):
            ask("0" * 16)


def test_a_newer_build_names_those_that_it_ends(builds: Follower) -> None:
    """Whoever leads next ends them."""
    wanting = replace(REQUEST, supersede=Supersede.QUEUED)
    old = builds.submit(wanting, "ann")[0].build
    builds.submit(REQUEST, "ann")
    assert builds.submit(wanting, "ann")[0].build.supersedes == (old.id,)
