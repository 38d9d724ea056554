"""Which tasks Eremetic's clients have deleted, and what a task asked for, in either database."""

from __future__ import annotations

from dataclasses import replace

from builder_framework.domain import events as ev
from builder_framework.domain.tasks import AgentConstraint, Fetch, Port, TaskRequest, Volume
from builder_framework.redact import Secret
from builder_framework.store.base import Change
from builder_framework.store.forgotten import SqlForgotten
from builder_framework.store.retention import SqlRetention
from builder_framework.store.sql import SqlStore
from tests.contract.builds import after, build
from tests.contract.conftest import Open

TASK = TaskRequest(
    "my task",
    "tutum/builder",
    0.5,
    22.0,
    args=(),
    env={"A": "1"},
    masked_env=("P",),
    volumes=(Volume("/a", "/b"),),
    ports=(Port(80, 0, "tcp"),),
    agent_constraints=(AgentConstraint("role", "build"),),
    fetch=(Fetch("http://x/y.tgz", extract=True),),
    callback=Secret("https://hooks.example.org/t0ken"),
    privileged=True,
)


def test_other_processes_know_what_was_deleted(store: SqlStore, opened: Open) -> None:
    one, other = build("a"), build("b")
    store.apply([Change(one), Change(other)])
    for _ in range(2):
        SqlForgotten(store).forget(one.id)
    there = SqlForgotten(opened())
    assert there.among([one.id, other.id]) == {one.id}
    assert there.among([]) == frozenset()
    assert store.get(one.id) == one


def test_what_was_deleted_does_not_keep_its_build(store: SqlStore) -> None:
    waiting = build("a")
    store.apply([Change(waiting)])
    over = replace(after(waiting, ev.CancelRequested("me")), log_complete=True)
    store.apply([Change(over, waiting)])
    SqlForgotten(store).forget(over.id)
    assert SqlRetention(store, lambda _: None).remove_builds(1e12) == 1
    assert SqlForgotten(store).among([over.id]) == frozenset()


def test_what_a_task_asked_for_comes_back(store: SqlStore, opened: Open) -> None:
    made = build("a")
    one = replace(made, request=replace(made.request, task=TASK))
    store.apply([Change(one)])
    assert opened().get(one.id).request.task == TASK
