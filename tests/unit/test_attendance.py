"""Builds that have to be followed end when nobody does, and not a moment earlier."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder_framework.domain.notices import no_notices
from builder_framework.domain.states import State
from builder_framework.protocol import Reason
from builder_framework.service import attendance
from builder_framework.service.follower import Follower
from builder_framework.service.logs import LogStore
from tests.unit.recording import Bench
from tests.unit.test_service import REQUEST
from tests.unit.waiting import until

PATIENCE = 0.6


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(attendance, "EVERY", 0.05)
    made = Bench(tmp_path)
    yield made
    made.close()


def submit(bench: Bench, patience: float | None = PATIENCE) -> str:
    return bench.service.submit(replace(REQUEST, attended=patience), "me")[0].build.id


def state(bench: Bench, build_id: str) -> State:
    return bench.service.get(build_id).build.state


def test_nobody_comes(bench: Bench) -> None:
    """Not even once; builds that did not ask for that wait on."""
    forsaken, other = submit(bench), submit(bench, None)
    until(lambda: state(bench, forsaken) is State.CANCELLED)
    ended = bench.service.get(forsaken).build
    assert ended.reason is Reason.UNATTENDED
    assert ended.message == "nobody has followed it for 0.6 s"
    assert ended.ended_at is not None
    assert ended.ended_at - ended.created_at > PATIENCE
    assert state(bench, other) is State.QUEUED


def test_somebody_is_there_and_goes(bench: Bench) -> None:
    build_id = submit(bench)
    for _ in range(10):
        bench.service.attend(build_id)
        time.sleep(PATIENCE / 5)
        assert state(bench, build_id) is State.QUEUED
    until(lambda: state(bench, build_id) is State.CANCELLED)


def test_whoever_follows_at_a_follower_is_there_too(bench: Bench) -> None:
    logs = LogStore(bench.directory / "logs")
    follower = Follower(bench.store, logs, bench.clock, no_notices)
    build_id = submit(bench, 2.0)
    for _ in range(6):
        follower.attend(build_id)
        time.sleep(0.5)
    assert state(bench, build_id) is State.QUEUED
    until(lambda: state(bench, build_id) is State.CANCELLED)
