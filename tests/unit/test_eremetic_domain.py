"""A build as a task of Eremetic: ids, states, callbacks."""

from __future__ import annotations

import itertools
import json
import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import schemas
from builder_framework.domain import eremetic
from builder_framework.domain import events as ev
from builder_framework.domain.announcer import Announcer
from builder_framework.domain.eremetic import Group, Status
from builder_framework.domain.machine import MachinePolicy, step
from builder_framework.domain.model import ID_ALPHABET, Build, is_build_id
from builder_framework.domain.tasks import TaskRequest
from builder_framework.ports import RequestPolicy
from builder_framework.protocol import Outcome, Reason, Report
from builder_framework.redact import Secret
from tests.unit.builds_double import BODY, PLACEMENT

pytestmark = pytest.mark.domain

ID = "0123456789abcdef"
DONE = Report(outcome=Outcome.SUCCEEDED, digest="sha256:" + "a" * 64)
CALLBACK = Secret("https://hooks.example.org/t0ken")


def told(*events: Any, task: TaskRequest | None = None) -> list[Build]:
    """The build after each event; those are ten seconds apart, the first at 1000.9."""
    request = schemas.parse_build(BODY, RequestPolicy()).to_request(RequestPolicy())
    submitted = ev.Submitted(ID, replace(request, task=task, max_attempts=2), "ann")
    found: list[Build] = []
    for number, event in enumerate((submitted, *events)):
        build = found[-1] if found else None
        found.append(step(build, event, 1000.9 + 10 * number, MachinePolicy()).build)
    return found


PLACED = ev.Placed(PLACEMENT)
RUNS = ev.TaskSeen(1, running=True)
LOST = ev.TaskLost(1, Reason.AGENT_LOST, "away")

STORIES: dict[str, tuple[tuple[Any, ...], str]] = {
    "succeeds": ((PLACED, RUNS, ev.TaskSucceeded(1, DONE)), "QUEUED STAGING RUNNING FINISHED"),
    "fails": (
        (PLACED, RUNS, ev.TaskFailed(1, Reason.TIMEOUT, "slow")),
        "QUEUED STAGING RUNNING FAILED",
    ),
    "killed": (
        (PLACED, RUNS, ev.CancelRequested("ann"), ev.TaskKilled(1, "")),
        "QUEUED STAGING RUNNING TERMINATING KILLED",
    ),
    "killed while it waits": ((ev.CancelRequested("ann"),), "QUEUED KILLED"),
    "refused by Mesos": (
        (PLACED, ev.TaskNeverStarted(1, Reason.TASK_INVALID, "no")),
        "QUEUED STAGING ERROR",
    ),
    "placed again": (
        (PLACED, RUNS, LOST, PLACED, ev.TaskSeen(2, running=True)),
        "QUEUED STAGING RUNNING LOST QUEUED STAGING RUNNING",
    ),
    "never started, placed again": (
        (PLACED, ev.TaskNeverStarted(1, Reason.LAUNCH_FAILED, "no"), ev.CancelRequested("ann")),
        "QUEUED STAGING FAILED QUEUED KILLED",
    ),
    "lost for good": (
        (PLACED, RUNS, LOST, PLACED, ev.TaskSeen(2, running=True), replace(LOST, attempt=2)),
        "QUEUED STAGING RUNNING LOST QUEUED STAGING RUNNING LOST",
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_states(story: str) -> None:
    events, expected = STORIES[story]
    states = [
        status.value.removeprefix("TASK_") for _, status in eremetic.statuses(told(*events)[-1])
    ]
    assert states == expected.split()


@pytest.mark.parametrize("story", STORIES)
def test_the_list_of_states_only_grows(story: str) -> None:
    """Clients remember how many they have seen."""
    lists = [[s for _, s in eremetic.statuses(build)] for build in told(*STORIES[story][0])]
    for before, after in itertools.pairwise(lists):
        assert after[: len(before)] == before


def test_times_are_whole_seconds() -> None:
    built = told(*STORIES["succeeds"][0])[-1]
    assert [at for at, _ in eremetic.statuses(built)] == [1000, 1010, 1020, 1030]


def test_while_it_is_being_killed() -> None:
    stopping = told(PLACED, RUNS, ev.CancelRequested("ann"))[-1]
    assert eremetic.statuses(stopping)[-1] == (1030, Status.TERMINATING)
    assert eremetic.status(stopping) is Status.TERMINATING
    assert eremetic.group(stopping) is Group.ACTIVE


def test_groups() -> None:
    groups = [eremetic.group(build) for build in told(*STORIES["succeeds"][0])]
    assert groups == [Group.QUEUED, Group.ACTIVE, Group.ACTIVE, Group.TERMINATED]


@given(st.text(ID_ALPHABET, min_size=16, max_size=16))
def test_an_id_is_a_uuid_and_leads_back(build_id: str) -> None:
    name = eremetic.task_name(build_id)
    prefix, _, rest = name.partition(".")
    assert prefix == "eremetic-task"
    assert str(uuid.UUID(rest)) == rest
    assert (uuid.UUID(rest).version, uuid.UUID(rest).variant) == (8, uuid.RFC_4122)
    assert eremetic.build_of(name) == build_id


@pytest.mark.parametrize(
    "name",
    [
        "",
        ID,
        "eremetic-task.",
        "eremetic-task.79feb50d-3d36-47cf-98ff-a52ef2bc0eb5",
        eremetic.task_name(ID).upper(),
        eremetic.task_name(ID) + "\n",
        eremetic.task_name(ID).removeprefix("eremetic-task."),
    ],
)
def test_an_id_that_is_none_of_ours(name: str) -> None:
    assert eremetic.build_of(name) is None
    assert is_build_id(eremetic.build_of(eremetic.task_name(ID)) or "")


def deliveries(builds: list[Build]) -> list[list[str]]:
    """What each change makes due at the callback's URL."""
    announcer = Announcer((Secret("https://hooks.example.org/all"),))
    pairs = zip([None, *builds], builds, strict=False)
    made = [announcer.deliveries_of(before, after, 1.0) for before, after in pairs]
    ids = [each.id for due in made for each in due]
    assert len(set(ids)) == len(ids)
    return [[each.payload for each in due if each.url == CALLBACK] for due in made]


def test_the_callback_is_told_the_end_once_and_nothing_else() -> None:
    builds = told(*STORIES["placed again"][0], task=TaskRequest("n", "i", callback=CALLBACK))
    last = step(builds[-1], ev.TaskFailed(2, Reason.TIMEOUT, "slow"), 2000.5, MachinePolicy()).build
    done = step(last, ev.LogCompleted(), 2001.0, MachinePolicy()).build
    *early, end, after = deliveries([*builds, last, done])
    assert [payload for due in early for payload in due] == []
    assert [json.loads(payload) for payload in end] == [
        {"time": 2000, "status": "TASK_FAILED", "task_id": eremetic.task_name(ID)}
    ]
    assert after == []


@pytest.mark.parametrize("task", [None, TaskRequest("n", "i")])
def test_without_a_callback_nobody_is_told(task: TaskRequest | None) -> None:
    assert not any(deliveries(told(*STORIES["succeeds"][0], task=task)))
