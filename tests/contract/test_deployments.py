"""Deployments in either database: written with a build's success, once; one at a time in an app."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from builder_framework.domain import deployment as rules
from builder_framework.domain.apps import MarathonDeploy
from builder_framework.domain.delivery import Delivery
from builder_framework.domain.deployment import Deployment, DeploymentState
from builder_framework.domain.model import Build, Result
from builder_framework.domain.states import State
from builder_framework.domain.tally import Metric, Tally
from builder_framework.errors import BuilderError, LeadershipLostError, StaleWriteError
from builder_framework.redact import Secret
from builder_framework.store.base import Change
from builder_framework.store.measures import SqlMeasures
from builder_framework.store.retention import SqlRetention
from builder_framework.store.sql import SqlStore
from tests.contract.builds import build
from tests.contract.conftest import Open

DIGEST = f"sha256:{'a' * 64}"


def accepted(store: SqlStore, name: str, app: str = "/shop/web") -> Build:
    made = build(name)
    one = replace(made, request=replace(made.request, deploy=MarathonDeploy(app, 60.0)))
    store.apply([Change(one)])
    return one


def ended(store: SqlStore, before: Build) -> Deployment:
    done = replace(
        before,
        state=State.SUCCEEDED,
        result=Result(digest=DIGEST),
        ended_at=3.0,
        log_complete=True,
        version=before.version + 1,
    )
    due = rules.due(before, done, 3.0)
    assert due is not None
    store.apply([Change(done, before, deployment=due)])
    return due


def test_it_is_stored_with_the_success(store: SqlStore, opened: Open) -> None:
    due = ended(store, accepted(store, "a"))
    there = opened()
    assert there.deployments.of_build(due.build_id) == due
    assert there.get(due.build_id).request.deploy == MarathonDeploy("/shop/web", 60.0)
    assert there.deployments.of_build("nobody") is None


def test_there_is_no_second_one(store: SqlStore) -> None:
    """Not even by a defect: the build's change then fails as a whole."""
    due = ended(store, accepted(store, "a"))
    done = store.get(due.build_id)
    again = replace(done, message="again", version=done.version + 1)
    with pytest.raises((BuilderError, sa.exc.IntegrityError)):
        store.apply([Change(again, done, deployment=due)])
    assert store.get(due.build_id) == done


def test_each_step_is_stored_once_and_by_the_leader_only(store: SqlStore, opened: Open) -> None:
    due = ended(store, accepted(store, "a"))
    begun = replace(
        due,
        state=DeploymentState.DEPLOYING,
        message="nul \0 and \udc80",
        started_at=4.0,
        previous="old:1",
        base="v1",
        unsure=True,
        marathon_id="d1",
        back_until=9.0,
    )
    stored = store.deployments.record(begun)
    assert stored.version == 1
    found = opened().deployments.of_build(due.build_id)
    assert found is not None
    assert replace(found, message=None) == replace(stored, message=None)
    with pytest.raises(StaleWriteError):
        store.deployments.record(begun)
    opened().lead("somebody else", None)
    with pytest.raises(LeadershipLostError):
        store.deployments.record(stored)


def test_one_of_each_app_and_who_is_later(store: SqlStore) -> None:
    first, second, third = (accepted(store, name) for name in "abc")
    other = accepted(store, "d", "/other")
    for each in (third, second, first, other):
        ended(store, each)
    assert [(one.build_id, later) for one, later in store.deployments.going_on()] == [
        (first.id, third.id),
        (other.id, None),
    ]

    def record(build_id: str, state: DeploymentState) -> None:
        found = store.deployments.of_build(build_id)
        assert found is not None
        store.deployments.record(replace(found, state=state))

    # The one that Marathon was told of goes first.
    record(second.id, DeploymentState.DEPLOYING)
    assert store.deployments.going_on()[0][0].build_id == second.id
    # What came to nothing is in nobody's way.
    record(second.id, DeploymentState.ROLLED_BACK)
    record(third.id, DeploymentState.FAILED)
    assert [(one.build_id, later) for one, later in store.deployments.going_on()] == [
        (first.id, None),
        (other.id, None),
    ]
    record(third.id, DeploymentState.SUCCEEDED)
    assert store.deployments.going_on()[0][1] == third.id


def test_a_build_is_kept_while_its_image_is_on_its_way(store: SqlStore) -> None:
    due = ended(store, accepted(store, "a"))
    old = SqlRetention(store, lambda _: None)
    assert old.remove_builds(1e12) == 0
    store.deployments.record(replace(due, state=DeploymentState.SUCCEEDED))
    assert old.remove_builds(1e12) == 1
    assert store.deployments.of_build(due.build_id) is None


def test_its_end_is_counted_and_told_in_the_same_transaction(store: SqlStore) -> None:
    due = ended(store, accepted(store, "a"))
    begun = store.deployments.record(replace(due, state=DeploymentState.DEPLOYING))
    url = Secret("https://hooks.example.org/t0ken")
    message = Delivery(
        "msg_1", due.build_id, "build.deployed", url, "{}", created_at=1.0, next_at=1.0
    )
    over = replace(begun, state=DeploymentState.SUCCEEDED, ended_at=begun.created_at + 30.0)
    with pytest.raises(StaleWriteError):
        store.deployments.record(replace(over, version=7), [message])
    assert "build.deployed" not in events(store, due.build_id)
    store.deployments.record(over, [message])
    assert "build.deployed" in events(store, due.build_id)
    counted = [each for each in SqlMeasures(store.reading).tallies() if each.metric == "deployed"]
    assert counted == [Tally(Metric.DEPLOYED, ("succeeded",), "30.0", 1, 30.0)]


def events(store: SqlStore, build_id: str) -> list[str]:
    return [view.delivery.event for view in store.outbox.of_build(build_id)]
