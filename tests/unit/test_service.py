"""The loop stores first, then answers, acknowledges and acts; and loses nothing when it cannot."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from builder_framework.cluster import (
    Disconnected,
    ExecutorLost,
    ExecutorMessage,
    Launch,
    OffersReceived,
    StatusUpdate,
)
from builder_framework.domain.events import Submitted
from builder_framework.domain.machine import MachinePolicy
from builder_framework.domain.model import BuildRequest, Constraint, Dedupe, Resources, Supersede
from builder_framework.domain.notices import no_notices
from builder_framework.domain.states import State
from builder_framework.errors import (
    CallError,
    ConflictError,
    NotFoundError,
    StoreUnavailableError,
)
from builder_framework.ports import BuildView, Idempotency, ListQuery
from builder_framework.protocol import (
    LeaseRequest,
    Outcome,
    Phase,
    PushedImage,
    Reason,
    Report,
    decode_lease_answer,
    encode_lease,
    encode_report,
)
from builder_framework.recipe import GitSource, Source
from builder_framework.redact import Secret
from builder_framework.service.batch import Batch
from builder_framework.service.follower import Follower
from builder_framework.service.hot import HotBuilds, described
from builder_framework.service.logs import LogStore
from builder_framework.service.policy import LoopPolicy
from tests.sources import git_of
from tests.unit.recording import NOT_SUBSCRIBED, Bench, offer
from tests.unit.waiting import until

POLICY = MachinePolicy()
REQUEST = BuildRequest(
    Source(GitSource("https://git.example.org/app.git")),
    ("registry.example.org/app:1",),
    timeout=600.0,
    queue_ttl=600.0,
    resources=Resources(1.0, 512.0),
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def submit(bench: Bench, **changes: object) -> BuildView:
    request = replace(REQUEST, **changes)  # type: ignore[arg-type]
    return bench.service.submit(request, "me")[0]


def state(bench: Bench, view: BuildView) -> State:
    return bench.service.get(view.build.id).build.state


def news(
    view: BuildView, mesos_state: str, report: Report | None = None, attempt: int = 1
) -> StatusUpdate:
    return StatusUpdate(
        task_id=f"{view.build.id}.{attempt}",
        agent_id="a1",
        state=mesos_state,
        data=encode_report(report) if report else None,
        uuid=f"uuid-{mesos_state}",
    )


def launched(bench: Bench) -> BuildView:
    bench.subscribe()
    view = submit(bench)
    bench.service.post(OffersReceived((offer(),)))
    bench.cluster.wait_for("launch")
    return view


def test_an_accepted_build_is_in_the_database_before_the_answer(bench: Bench) -> None:
    view = submit(bench)
    with sqlite3.connect(bench.directory / "builder.db") as other:
        rows = other.execute("SELECT id, state FROM builds").fetchall()
    other.close()
    assert rows == [(view.build.id, "QUEUED")]


def test_a_build_goes_from_offer_to_digest(bench: Bench) -> None:
    view = launched(bench)
    assert state(bench, view) is State.STAGING
    progress = Report(phase=Phase.BUILDING, commit="c0ffee")
    bench.service.post(news(view, "TASK_RUNNING", progress))
    until(lambda: state(bench, view) is State.RUNNING)
    image = PushedImage(REQUEST.images[0], "sha256:1")
    done = Report(outcome=Outcome.SUCCEEDED, digest="sha256:1", images=(image,))
    bench.service.post(news(view, "TASK_FINISHED", done))
    until(lambda: state(bench, view) is State.SUCCEEDED)
    result = bench.service.get(view.build.id).build.result
    assert (result.commit, result.digest, result.images) == ("c0ffee", "sha256:1", (image,))
    until(lambda: bench.cluster.names().count("acknowledge") == 2)


def test_nothing_is_launched_or_acknowledged_that_is_not_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launch that a restart would not know of would build, and push, behind our back."""
    bench.subscribe()
    view = submit(bench)
    bench.cluster.wait_for("revive")
    monkeypatch.setattr("builder_framework.store.engine.BUSY_PATIENCE", 0.01)
    other = sqlite3.connect(bench.directory / "builder.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    bench.service.post(OffersReceived((offer(),)))
    bench.cluster.wait_for("decline")
    with pytest.raises(StoreUnavailableError):
        submit(bench)
    assert "launch" not in bench.cluster.names()
    other.execute("ROLLBACK")
    other.close()
    assert state(bench, view) is State.QUEUED
    bench.service.post(OffersReceived((offer(),)))
    bench.cluster.wait_for("launch")


def test_the_log_tells_each_change_and_no_secret(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bench.subscribe()
    git = replace(git_of(REQUEST.source), username="ann", password=Secret("git-canary"))
    view = submit(bench, source=Source(git))
    bench.service.post(OffersReceived((offer(),)))
    bench.cluster.wait_for("launch")
    failed = Report(
        outcome=Outcome.FAILED, reason=Reason.GIT_FAILED, message="cannot read git-canary"
    )
    bench.service.post(news(view, "TASK_FAILED", failed))
    until(lambda: state(bench, view) is State.FAILED)
    until(lambda: "git_failed" in caplog.text)
    told = [line for line in caplog.messages if view.build.id in line]
    assert [line.split()[2] for line in told[:3]] == ["QUEUED", "STAGING", "FAILED"]
    assert "cannot read ***" in told[2]
    assert "git-canary" not in caplog.text


def test_a_restart_takes_up_where_it_was(bench: Bench, tmp_path: Path) -> None:
    """No stop before: this is what a SIGKILL leaves behind."""
    running, waiting = launched(bench), submit(bench)
    again = Bench(tmp_path)
    again.subscribe()
    asked = again.cluster.wait_for("reconcile")
    assert asked == [(f"{running.build.id}.1", "a1")]
    assert state(again, waiting) is State.QUEUED
    lost = StatusUpdate(f"{running.build.id}.1", "a1", "TASK_GONE", reason="REASON_RECONCILIATION")
    again.service.post(lost)
    until(lambda: state(again, running) is State.QUEUED)
    again.service.post(OffersReceived((offer(),)))
    _, launches = again.cluster.wait_for("launch")
    assert {launch.attempt.task_id for launch in launches} == {
        f"{running.build.id}.2",
        f"{waiting.build.id}.1",
    }
    again.close()


def test_a_launch_that_was_not_sent_is_placed_again(bench: Bench) -> None:
    bench.subscribe()
    view = submit(bench)
    bench.cluster.wait_for("revive")
    bench.cluster.refuse = NOT_SUBSCRIBED
    bench.service.post(OffersReceived((offer(),)))
    until(lambda: len(bench.service.get(view.build.id).build.attempts) == 1)
    until(lambda: state(bench, view) is State.QUEUED)
    bench.cluster.refuse = None
    bench.service.post(OffersReceived((offer(),)))
    bench.cluster.wait_for("launch")
    assert bench.service.get(view.build.id).build.current.number == 2  # type: ignore[union-attr]


def test_a_launch_that_nobody_knows_of_is_asked_about_and_its_offer_given_back(
    bench: Bench,
) -> None:
    """The answer to ACCEPT got lost; without asking, the build would wait for its staging time."""
    bench.subscribe()
    view = submit(bench)
    bench.cluster.wait_for("revive")
    bench.cluster.calls.clear()
    bench.cluster.refuse_next = CallError("ACCEPT got no answer")
    bench.service.post(OffersReceived((offer(),)))
    until(lambda: bench.cluster.refused > 0)
    bench.cluster.wait_for("decline")
    assert bench.cluster.wait_for("reconcile") == [(f"{view.build.id}.1", "a1")]
    answer = StatusUpdate(f"{view.build.id}.1", "a1", "TASK_GONE", reason="REASON_RECONCILIATION")
    bench.service.post(answer)
    until(lambda: state(bench, view) is State.QUEUED)


def test_an_offer_is_given_back_though_the_first_try_failed(bench: Bench) -> None:
    bench.subscribe()
    bench.cluster.wait_for("suppress")
    bench.cluster.refuse_next = CallError("DECLINE got no answer")
    bench.service.post(OffersReceived((offer("a7"),)))
    agents, _ = bench.cluster.wait_for("decline")
    assert [agent.first.agent_id for agent in agents] == ["a7"]
    assert bench.cluster.refused == 1


def test_offers_are_wanted_only_while_something_waits(bench: Bench) -> None:
    bench.subscribe()
    bench.cluster.wait_for("suppress")
    submit(bench)
    bench.cluster.wait_for("revive")
    bench.cluster.calls.clear()
    bench.service.post(OffersReceived((offer("a1"), offer("a2"))))
    bench.cluster.wait_for("suppress")
    assert sorted(bench.cluster.names()) == ["decline", "launch", "suppress"]


def test_a_wish_for_offers_that_got_lost_is_repeated(bench: Bench) -> None:
    """Calls may fail without the subscription ending; suppressed for ever, nothing would start."""
    bench.subscribe()
    bench.cluster.wait_for("suppress")
    bench.cluster.refuse = CallError("REVIVE got no answer")
    submit(bench)
    until(lambda: bench.cluster.refused > 0)
    bench.cluster.refuse = None
    bench.ahead = 61.0
    bench.cluster.wait_for("revive")


def test_every_offer_is_answered_when_nothing_waits(bench: Bench) -> None:
    bench.subscribe()
    bench.service.post(OffersReceived((offer("a1"),)))
    agents, refuse = bench.cluster.wait_for("decline")
    assert [agent.first.agent_id for agent in agents] == ["a1"]
    assert refuse >= 600


def test_why_a_build_waits_is_told(bench: Bench) -> None:
    view = submit(bench, resources=Resources(64.0, 512.0))
    assert bench.service.get(view.build.id).waiting.message == "not connected to a Mesos master"  # type: ignore[union-attr]
    bench.subscribe()
    rack = submit(bench, constraints=(Constraint("rack", "EQUALS", "b"),))
    bench.service.post(OffersReceived((offer("a1"), offer("a2"))))
    until(lambda: bench.service.get(rack.build.id).waiting.agents_seen == 2)  # type: ignore[union-attr]
    big = bench.service.get(view.build.id).waiting
    picky = bench.service.get(rack.build.id).waiting
    assert big is not None
    assert picky is not None
    assert big.message == "no agent fits: 2 of 2 have too few cpus free"
    assert [(r.reason, r.agents) for r in picky.refusals] == [("constraint:rack", 2)]
    assert (big.position, picky.position) == (1, 2)


def test_priority_goes_first(bench: Bench) -> None:
    late = [submit(bench), submit(bench, priority=5)]
    positions = [bench.service.get(view.build.id).waiting.position for view in late]  # type: ignore[union-attr]
    assert positions == [2, 1]


def test_the_same_key_gives_the_same_build_even_at_once(bench: Bench) -> None:
    key = Idempotency("k", "f" * 64)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(bench.service.submit, REQUEST, "me", key) for _ in range(8)]
        answers = [call.result() for call in calls]
    (made,) = {view.build.id for view, _ in answers}
    assert sorted(fresh for _, fresh in answers) == [False] * 7 + [True]
    with pytest.raises(ConflictError, match=made):
        bench.service.submit(REQUEST, "me", Idempotency("k", "0" * 64))
    assert len(bench.service.list(ListQuery()).builds) == 1


def test_a_queued_build_is_cancelled_at_once_and_only_once(bench: Bench) -> None:
    view = submit(bench)
    assert bench.service.cancel(view.build.id, "ann").build.state is State.CANCELLED
    with pytest.raises(ConflictError, match="CANCELLED"):
        bench.service.cancel(view.build.id, "ann")
    with pytest.raises(NotFoundError):
        bench.service.cancel("0" * 16, "ann")


def test_a_running_build_is_killed_with_its_agent_named(bench: Bench) -> None:
    view = launched(bench)
    assert bench.service.cancel(view.build.id, "ann").build.state is State.CANCELLING
    assert bench.cluster.wait_for("kill") == (f"{view.build.id}.1", "a1")
    bench.service.post(news(view, "TASK_KILLED"))
    until(lambda: state(bench, view) is State.CANCELLED)
    assert bench.service.get(view.build.id).build.message == "cancelled by ann"


def test_a_task_nobody_knows_is_killed_and_acknowledged(bench: Bench) -> None:
    bench.subscribe()
    stranger = StatusUpdate("0" * 16 + ".1", "a9", "TASK_RUNNING", uuid="u")
    bench.service.post(stranger)
    assert bench.cluster.wait_for("kill") == ("0" * 16 + ".1", "a9")
    assert bench.cluster.wait_for("acknowledge") == stranger


def test_two_attempts_on_one_agent_never_share_a_slot(bench: Bench) -> None:
    bench.subscribe()
    for _ in range(3):
        submit(bench)
        bench.cluster.calls.clear()
        bench.service.post(OffersReceived((offer("a1"),)))
        bench.cluster.wait_for("launch")
    builds = bench.service.list(ListQuery()).builds
    slots = [view.build.current.placement.slot for view in builds if view.build.current]
    assert sorted(slots) == [0, 1, 2]


def test_a_finish_that_only_reconciliation_tells_is_not_taken_for_a_result(bench: Bench) -> None:
    """The master's answer has no data: the digest comes with the agent's own update."""
    view = launched(bench)
    bench.service.post(news(view, "TASK_RUNNING", Report(phase=Phase.PUSHING)))
    until(lambda: state(bench, view) is State.RUNNING)
    task_id = f"{view.build.id}.1"
    answer = StatusUpdate(task_id, "a1", "TASK_FINISHED", reason="REASON_RECONCILIATION")
    bench.service.post(answer)
    done = Report(outcome=Outcome.SUCCEEDED, digest="sha256:1")
    bench.service.post(news(view, "TASK_FINISHED", done))
    until(lambda: state(bench, view) is State.SUCCEEDED)
    assert bench.service.get(view.build.id).build.result.digest == "sha256:1"


def test_a_lost_subscription_voids_offers_and_is_told(bench: Bench) -> None:
    bench.subscribe()
    bench.cluster.wait_for("suppress")
    bench.service.post(Disconnected())
    view = submit(bench)
    waiting = bench.service.get(view.build.id).waiting
    assert waiting is not None
    assert waiting.message == "not connected to a Mesos master"


def test_a_queue_deadline_ends_a_build_truthfully(bench: Bench) -> None:
    view = submit(bench, queue_ttl=0.2)
    until(lambda: state(bench, view) is State.FAILED)
    assert bench.service.get(view.build.id).build.reason is Reason.QUEUE_EXPIRED


def test_an_executor_that_asks_is_answered_once_that_is_stored(bench: Bench) -> None:
    view = launched(bench)
    bench.service.post(news(view, "TASK_RUNNING", Report(phase=Phase.PUSHING)))
    attempt = bench.service.get(view.build.id).build.attempts[0]
    asked = LeaseRequest(attempt.task_id, "n1", "sha256:1")
    place = attempt.placement
    message = ExecutorMessage(place.executor_id, place.agent_id, encode_lease(asked))
    bench.service.post(message)
    executor, agent, data = bench.cluster.wait_for("message")
    answer = decode_lease_answer(data)
    assert (executor, agent) == (place.executor_id, place.agent_id)
    assert (answer.nonce, answer.granted) == ("n1", True)
    assert bench.store.get(view.build.id).pinned == "sha256:1"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        encode_lease(LeaseRequest("nonsense", "n", "sha256:1")),
        encode_lease(LeaseRequest(f"{'b' * 16}.1", "n", "sha256:1")),
    ],
)
def test_what_is_no_question_of_ours_gets_no_answer(bench: Bench, data: bytes) -> None:
    view = launched(bench)
    place = bench.service.get(view.build.id).build.attempts[0].placement
    bench.service.post(ExecutorMessage(place.executor_id, place.agent_id, data))
    other = encode_lease(LeaseRequest(f"{view.build.id}.1", "n", "sha256:1"))
    bench.service.post(ExecutorMessage("somebody-else", place.agent_id, other))
    bench.service.post(news(view, "TASK_RUNNING", Report(phase=Phase.PUSHING)))
    until(lambda: state(bench, view) is State.RUNNING)
    assert "message" not in bench.cluster.names()
    assert bench.store.get(view.build.id).pinned is None


def test_a_build_that_failed_on_an_agent_goes_to_another(bench: Bench) -> None:
    view = launched(bench)
    bench.service.post(news(view, "TASK_RUNNING", Report(phase=Phase.CLONING)))
    until(lambda: state(bench, view) is State.RUNNING)
    bench.service.post(
        StatusUpdate(f"{view.build.id}.1", "a1", "TASK_FAILED", "REASON_EXECUTOR_TERMINATED")
    )
    until(lambda: state(bench, view) is State.QUEUED)
    bench.ahead = 5.0
    bench.service.post(OffersReceived((offer("a1"),)))
    until(lambda: refusals(bench, view) == ["agent_avoided"])
    bench.service.post(OffersReceived((offer("a1"), offer("a2"))))
    until(lambda: state(bench, view) is State.STAGING)
    current = bench.service.get(view.build.id).build.current
    assert current is not None
    assert current.placement.agent_id == "a2"


def test_a_slot_that_comes_free_without_its_resources_brings_new_offers(tmp_path: Path) -> None:
    """The agent never had the task: it has nothing more to offer than before, and says nothing."""
    bench = Bench(tmp_path, LoopPolicy(slots_per_agent=1))
    first = launched(bench)
    second = submit(bench)
    bench.service.post(OffersReceived((offer("a1"),)))
    until(lambda: refusals(bench, second) == ["no_free_slot"])
    bench.cluster.calls.clear()
    bench.service.post(
        StatusUpdate(f"{first.build.id}.1", "a1", "TASK_GONE", reason="REASON_RECONCILIATION")
    )
    bench.cluster.wait_for("revive")
    bench.close()


def refusals(bench: Bench, view: BuildView) -> list[str]:
    waiting = bench.service.get(view.build.id).waiting
    return [refusal.reason for refusal in waiting.refusals] if waiting else []


def test_a_newer_build_ends_an_older_one_of_its_group(bench: Bench) -> None:
    old = submit(bench, supersede=Supersede.QUEUED)
    other = submit(bench)
    new = submit(bench, supersede=Supersede.QUEUED)
    assert new.build.supersedes == (old.build.id,)
    ended = bench.service.get(old.build.id).build
    assert (ended.state, ended.reason) == (State.CANCELLED, Reason.SUPERSEDED)
    assert ended.message == f"superseded by build {new.build.id}"
    assert bench.service.get(other.build.id).build.state is State.QUEUED
    assert bench.store.get(new.build.id).supersedes == (old.build.id,)


def sharing(tmp_path: Path) -> Bench:
    """Builds of one owner share an executor for a minute."""
    policy = LoopPolicy(executor_idle=60.0, kind=lambda build: build.owner)
    bench = Bench(tmp_path, policy)
    bench.subscribe()
    return bench


def launches(bench: Bench) -> list[Launch]:
    calls = [arguments for name, arguments in bench.cluster.calls if name == "launch"]
    return [launch for _, each in calls for launch in each]


def test_builds_share_an_executor_at_once_and_one_after_the_other(tmp_path: Path) -> None:
    bench = sharing(tmp_path)
    views = [submit(bench), submit(bench)]
    bench.service.post(OffersReceived((offer(),)))
    until(lambda: len(launches(bench)) == 2)
    for view in views:
        bench.service.post(news(view, "TASK_FINISHED", Report(outcome=Outcome.SUCCEEDED)))
    until(lambda: all(state(bench, view) is State.SUCCEEDED for view in views))
    submit(bench)
    bench.service.post(OffersReceived((offer(),)))
    until(lambda: len(launches(bench)) == 3)
    assert [launch.joins for launch in launches(bench)] == [False, True, True]
    executors = {launch.attempt.placement.executor_id for launch in launches(bench)}
    assert executors == {f"builder.{launches(bench)[0].build.id}.1"}
    bench.close()


def test_an_executor_that_is_gone_gets_no_build(tmp_path: Path) -> None:
    bench = sharing(tmp_path)
    first = submit(bench)
    bench.service.post(OffersReceived((offer(),)))
    until(lambda: len(launches(bench)) == 1)
    bench.service.post(news(first, "TASK_FINISHED", Report(outcome=Outcome.SUCCEEDED)))
    until(lambda: state(bench, first) is State.SUCCEEDED)
    bench.service.post(ExecutorLost(launches(bench)[0].attempt.placement.executor_id, "a1"))
    submit(bench)
    bench.service.post(OffersReceived((offer(),)))
    until(lambda: len(launches(bench)) == 2)
    assert not launches(bench)[1].joins
    bench.close()


def test_an_idle_executor_ends_in_time_and_makes_room_before(tmp_path: Path) -> None:
    bench = sharing(tmp_path)
    first = submit(bench)
    bench.service.post(OffersReceived((offer(),)))
    until(lambda: len(launches(bench)) == 1)
    bench.service.post(news(first, "TASK_FINISHED", Report(outcome=Outcome.SUCCEEDED)))
    until(lambda: state(bench, first) is State.SUCCEEDED)
    executor = (launches(bench)[0].attempt.placement.executor_id, "a1")
    submit(bench, resources=Resources(8.0, 256.0))
    bench.service.post(OffersReceived((offer(cpus=7.9),)))
    until(lambda: "decline" in bench.cluster.names())
    assert "shutdown" not in bench.cluster.names(), "it would not help: the executor is its own"
    other = bench.service.submit(replace(REQUEST, resources=Resources(7.9, 256.0)), "you")[0]
    bench.service.post(OffersReceived((offer(cpus=7.9),)))
    assert bench.cluster.wait_for("shutdown") == executor
    assert state(bench, other) is State.QUEUED
    bench.close()


def test_an_idle_executor_is_told_to_end(tmp_path: Path) -> None:
    bench = sharing(tmp_path)
    view = submit(bench)
    bench.service.post(OffersReceived((offer(),)))
    until(lambda: len(launches(bench)) == 1)
    bench.service.post(news(view, "TASK_FINISHED", Report(outcome=Outcome.SUCCEEDED)))
    until(lambda: state(bench, view) is State.SUCCEEDED)
    assert "shutdown" not in bench.cluster.names()
    bench.ahead = 61.0
    assert bench.cluster.wait_for("shutdown")[1] == "a1"
    bench.close()


FIXED = Source(GitSource("https://git.example.org/app.git", "0" * 40))


def test_the_same_asked_for_twice_is_one_build(bench: Bench) -> None:
    first, second = (
        bench.service.submit(replace(REQUEST, source=FIXED, dedupe=Dedupe.RUNNING), "me")
        for _ in range(2)
    )
    assert (first[1], second[1]) == (True, False)
    assert second[0].build.id == first[0].build.id
    assert bench.store.get(first[0].build.id).joined == 1
    other = bench.service.submit(replace(REQUEST, source=FIXED, dedupe=Dedupe.RUNNING), "you")
    assert other[1]


def test_the_same_asked_for_at_the_same_moment_is_one_build(bench: Bench) -> None:
    request = replace(REQUEST, source=FIXED, dedupe=Dedupe.RUNNING)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: bench.service.submit(request, "me"), range(8)))
    (made,) = {view.build.id for view, _ in answers}
    assert [fresh for _, fresh in answers].count(True) == 1
    assert bench.store.get(made).joined == 7


def test_a_follower_gives_what_is_there_and_the_leader_counts_it(bench: Bench) -> None:
    request = replace(REQUEST, source=FIXED, dedupe=Dedupe.FINISHED)
    view = bench.service.submit(request, "me")[0]
    logs = LogStore(bench.directory / "logs")
    follower = Follower(bench.store, logs, bench.clock, no_notices, dedupe_window=60.0)
    joined, fresh = follower.submit(request, "me")
    assert (joined.build.id, fresh) == (view.build.id, False)
    until(lambda: bench.store.get(view.build.id).joined == 1)
    bench.service.cancel(view.build.id, "me")
    assert follower.submit(request, "me")[1], "nobody joins what was cancelled"


def test_a_key_stands_for_the_build_that_it_joined(bench: Bench) -> None:
    """Who asks again because the answer got lost gets the same answer, whatever happened since."""
    request = replace(REQUEST, source=FIXED, dedupe=Dedupe.RUNNING)
    first = bench.service.submit(request, "me")[0].build.id
    keys = [Idempotency(name, "f" * 64) for name in "ab"]
    for key in (*keys, *keys):
        view, fresh = bench.service.submit(request, "me", key)
        assert (view.build.id, fresh) == (first, False)
    assert bench.store.get(first).joined == 2
    bench.service.cancel(first, "me")
    assert bench.service.submit(request, "me", keys[0])[0].build.id == first
    with pytest.raises(ConflictError):
        bench.service.submit(request, "me", Idempotency("a", "0" * 64))
    assert bench.service.submit(request, "me")[1]


def turn(bench: Bench) -> Batch:
    hot = HotBuilds(POLICY, lambda build: described(build, LoopPolicy(), None))
    return Batch(hot, bench.store, 1.0, POLICY)


@pytest.mark.parametrize(
    ("between", "given"),
    [
        ({}, True),
        ({"images": ("registry.example.org/other:1",)}, True),
        ({"images": (*REQUEST.images, "registry.example.org/other:1")}, False),
    ],
)
def test_builds_of_one_turn_are_in_order(
    bench: Bench, between: dict[str, object], given: bool
) -> None:
    """As if each of them had been stored by itself: one that took the tag is in the way."""
    request = replace(REQUEST, source=FIXED, dedupe=Dedupe.RUNNING)
    batch = turn(bench)
    first = batch.step("a" * 16, Submitted("a" * 16, request, "me"))
    if between:
        other = replace(REQUEST, **between)  # type: ignore[arg-type]
        batch.step("b" * 16, Submitted("b" * 16, other, "you"))
    expected = first if given else None
    assert batch.same(request, "me") == expected
    batch.store()
    assert turn(bench).same(request, "me") == expected


def test_who_did_not_say_so_is_not_joined_within_a_turn_either(bench: Bench) -> None:
    batch = turn(bench)
    batch.step("a" * 16, Submitted("a" * 16, replace(REQUEST, source=FIXED), "me"))
    request = replace(REQUEST, source=FIXED, dedupe=Dedupe.RUNNING)
    assert batch.same(request, "me") is None
