"""Images that go into apps: the worker on a real store, against a server with Marathon's API.

What is decided is in `test_deployment_domain.py`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder_framework.domain import deployment as rules
from builder_framework.domain import events as ev
from builder_framework.domain import machine
from builder_framework.domain.apps import MarathonDeploy
from builder_framework.domain.delivery import Delivery
from builder_framework.domain.deployment import (
    Accepted,
    Answer,
    App,
    Command,
    Deployment,
    Gone,
    Locked,
    Put,
    Refused,
    Revert,
    Unknown,
)
from builder_framework.domain.deployment import DeploymentState as State
from builder_framework.domain.model import Build, BuildRequest, Resources, Result
from builder_framework.domain.states import State as BuildState
from builder_framework.errors import LeadershipLostError
from builder_framework.marathon import Marathon, MarathonError
from builder_framework.recipe import GitSource, Source
from builder_framework.redact import Secret
from builder_framework.service import deployments as module
from builder_framework.service.deployments import Deployer, Told, deployment_of
from builder_framework.store.base import Change
from builder_framework.store.sql import SqlStore
from tests.sealing import SEALER
from tests.unit import marathon as double
from tests.unit.marathon import serving
from tests.unit.waiting import until

APP, OLD = "/shop/web", "registry.example.org/shop/web:1"
LOGIN = ("ops", "pässword-of-marathon")


class Killed(BaseException):
    """What ends a process at this very place."""


class Dying:
    """A Marathon whose caller is killed once it has been told, or just before."""

    def __init__(self, real: Marathon, command: type[Command], *, told: bool) -> None:
        self._real, self._command, self._told = real, command, told

    def app(self, app_id: str) -> App | None:
        return self._real.app(app_id)

    def carry_out(self, command: Command) -> Answer:
        if not isinstance(command, self._command):
            return self._real.carry_out(command)
        if self._told:
            self._real.carry_out(command)
        raise Killed


class Desk:
    """A database, and a clock that can be put forward."""

    def __init__(self, directory: Path, marathon: double.Marathon) -> None:
        self._url = f"sqlite:///{directory / 'builder.db'}"
        self.marathon = marathon
        self.now = 1000.0
        self._stores: list[SqlStore] = []
        self.store = self.leads()

    def leads(self) -> SqlStore:
        """A process that was just elected."""
        self.store = SqlStore(self._url, SEALER)
        self.store.lead("desk", None)
        self._stores.append(self.store)
        return self.store

    def client(self, **options: Any) -> Marathon:
        user, password = LOGIN
        return Marathon(self.marathon.url, (user, Secret(password)), **options)

    def succeed(self, number: int, app: str = APP) -> str:
        """A build is over and has its image; its id. A higher number was accepted later."""
        build = waiting(number, app)
        self.store.apply([Change(build)])
        return self.end(build)

    def end(self, build: Build) -> str:
        digest = f"sha256:{int(build.id):064x}"
        done = replace(
            build,
            state=BuildState.SUCCEEDED,
            result=Result(digest=digest),
            log_complete=True,
            ended_at=self.now,
            version=build.version + 1,
        )
        due = rules.due(build, done, self.now)
        self.store.apply([Change(done, build, deployment=due)])
        return build.id

    def look(self, target: Any = None) -> None:
        """One round, two seconds later."""
        self.now += 2.0
        worker = Deployer(self.store.deployments, target or self.client(), lambda: self.now)
        worker._round()

    def look_and_tell(self, told: Told) -> None:
        """As `look`, with somebody who hears of ends."""
        self.now += 2.0
        Deployer(self.store.deployments, self.client(), lambda: self.now, told)._round()

    def look_until_over(self, build_id: str, rounds: int = 60) -> Deployment:
        for _ in range(rounds):
            self.look()
            if not self.of(build_id).going_on:
                return self.of(build_id)
        raise AssertionError(self.of(build_id))

    def of(self, build_id: str) -> Deployment:
        found = self.store.deployments.of_build(build_id)
        assert found is not None
        return found

    def close(self) -> None:
        for store in self._stores:
            store.close()


def waiting(number: int, app: str = APP) -> Build:
    request = BuildRequest(
        Source(GitSource("https://git.example.org/app.git")),
        ("registry.example.org/shop/web:2",),
        timeout=600.0,
        queue_ttl=600.0,
        resources=Resources(1.0, 512.0),
        deploy=MarathonDeploy(app, 60.0),
    )
    event = ev.Submitted(f"{number:016d}", request, "ann")
    return machine.step(None, event, 1.0, machine.MachinePolicy()).build


def image(number: int) -> str:
    return f"registry.example.org/shop/web@sha256:{number:064x}"


@pytest.fixture
def marathon() -> Iterator[double.Marathon]:
    with serving(double.Marathon(login=LOGIN)) as running:
        running.has(APP, OLD, env={"A": "1"}, portDefinitions=[])
        yield running


@pytest.fixture
def desk(tmp_path: Path, marathon: double.Marathon) -> Iterator[Desk]:
    made = Desk(tmp_path, marathon)
    yield made
    made.close()


def test_an_image_gets_into_its_app(desk: Desk, marathon: double.Marathon) -> None:
    build_id = desk.succeed(1)
    assert desk.of(build_id).state is State.WAITING
    desk.look()
    going_on = desk.of(build_id)
    assert going_on.state is State.DEPLOYING
    assert going_on.marathon_id in marathon.deployments
    over = desk.look_until_over(build_id)
    assert (over.state, over.message, over.previous) == (State.SUCCEEDED, None, OLD)
    assert over.started_at is not None
    assert over.ended_at is not None
    assert over.ended_at > over.started_at
    assert marathon.image(APP) == image(1)
    # Only the container was sent, with all that it had.
    (body,) = marathon.puts(APP)
    assert body.keys() == {"container"}
    assert body["container"].keys() == {"type", "docker", "volumes", "portMappings"}
    assert marathon.apps[APP]["env"] == {"A": "1"}
    desk.look()
    assert len(marathon.puts(APP)) == 1


def test_one_that_does_not_come_up_is_rolled_back(desk: Desk, marathon: double.Marathon) -> None:
    marathon.takes = None
    build_id = desk.succeed(1)
    over = desk.look_until_over(build_id)
    assert over.state is State.ROLLED_BACK
    assert over.message == (
        "not over after 60 s: 2 of 2 tasks run, 0 healthy; the last one that failed: TASK_FAILED: "
        f"exited with 1; the app has {OLD} again"
    )
    assert marathon.image(APP) == OLD
    assert marathon.deployments == {}
    assert desk.store.get(build_id).state is BuildState.SUCCEEDED
    assert over.ended_at is not None
    assert over.started_at is not None
    assert 60 < over.ended_at - over.started_at < 80


def test_a_way_back_that_does_not_end_either_is_told(desk: Desk, marathon: double.Marathon) -> None:
    marathon.takes = marathon.takes_back = None
    over = desk.look_until_over(desk.succeed(1), 80)
    assert over.state is State.FAILED
    assert "the way back" in (over.message or "")


def test_a_lock_is_waited_for_and_never_forced(desk: Desk, marathon: double.Marathon) -> None:
    marathon.takes = 5
    scaled = {"instances": 3}
    marathon.put(APP, scaled)
    marathon.locked = 2  # and two refusals without a deployment that anybody sees
    build_id = desk.succeed(1)
    desk.look()
    assert desk.of(build_id).state is State.WAITING
    assert next(iter(marathon.deployments)) in (desk.of(build_id).message or "")
    assert marathon.puts(APP) == []
    assert desk.look_until_over(build_id).state is State.SUCCEEDED
    assert marathon.apps[APP]["instances"] == 3
    assert len(marathon.puts(APP)) == 3
    assert not any("force" in path for _, path, _ in marathon.requests)


def test_a_lock_that_stays_is_no_endless_wait(desk: Desk, marathon: double.Marathon) -> None:
    marathon.takes = None
    marathon.put(APP, {"instances": 3})
    over = desk.look_until_over(desk.succeed(1))
    assert over.state is State.FAILED
    assert "nothing was changed" in (over.message or "")
    assert marathon.puts(APP) == []


def test_what_marathon_refuses_is_told_in_its_words(desk: Desk, marathon: double.Marathon) -> None:
    marathon.apps[APP]["container"]["odd"] = 1
    over = desk.look_until_over(desk.succeed(1))
    assert over.state is State.FAILED
    assert over.message == (
        "Marathon refused: Marathon answered 422: Object is not valid; /container/odd ?; nothing "
        "was changed"
    )
    assert desk.look_until_over(desk.succeed(2, "/shop/none")).state is State.FAILED


@pytest.mark.parametrize("told", [False, True])
def test_killed_before_or_after_marathon_was_told(
    desk: Desk, marathon: double.Marathon, told: bool
) -> None:
    """Whoever leads next finds out, and the app is changed once."""
    build_id = desk.succeed(1)
    with pytest.raises(Killed):
        desk.look(Dying(desk.client(), Put, told=told))
    assert desk.of(build_id).state is State.DEPLOYING
    assert desk.of(build_id).marathon_id is None
    desk.leads()
    over = desk.look_until_over(build_id)
    assert over.state is State.SUCCEEDED
    assert len(marathon.puts(APP)) == 1
    assert marathon.image(APP) == image(1)


def test_killed_after_the_whole_deployment_went_by(desk: Desk, marathon: double.Marathon) -> None:
    marathon.takes = 0
    build_id = desk.succeed(1)
    with pytest.raises(Killed):
        desk.look(Dying(desk.client(), Put, told=True))
    desk.leads()
    desk.now += 86400.0
    assert desk.look_until_over(build_id).state is State.SUCCEEDED
    assert len(marathon.puts(APP)) == 1


@pytest.mark.parametrize("told", [False, True])
def test_killed_on_the_way_back(desk: Desk, marathon: double.Marathon, told: bool) -> None:
    marathon.takes = None
    build_id = desk.succeed(1)
    desk.look()
    desk.now += 70.0
    with pytest.raises(Killed):
        desk.look(Dying(desk.client(), Revert, told=told))
    assert desk.of(build_id).state is State.ROLLING_BACK
    desk.leads()
    over = desk.look_until_over(build_id)
    assert over.state is State.ROLLED_BACK
    assert [method for method, _, _ in marathon.requests].count("DELETE") == 1
    assert marathon.image(APP) == OLD


def test_killed_and_somebody_else_was_faster(desk: Desk, marathon: double.Marathon) -> None:
    """His wish came later: it stays."""
    build_id = desk.succeed(1)
    with pytest.raises(Killed):
        desk.look(Dying(desk.client(), Put, told=False))
    marathon.has(APP, "registry.example.org/shop/web:hotfix")
    desk.leads()
    over = desk.look_until_over(build_id)
    assert over.state is State.FAILED
    assert "hotfix" in (over.message or "")
    assert marathon.puts(APP) == []


def test_whoever_leads_no_longer_tells_marathon_nothing(
    desk: Desk, marathon: double.Marathon
) -> None:
    desk.succeed(1)
    old = desk.store
    desk.leads()
    worker = Deployer(old.deployments, desk.client(), lambda: desk.now)
    assert not worker._round()
    assert marathon.puts(APP) == []
    (found, _), *_ = old.deployments.going_on()
    with pytest.raises(LeadershipLostError):
        old.deployments.record(found)


def test_a_marathon_that_is_away_is_waited_for(desk: Desk, marathon: double.Marathon) -> None:
    build_id = desk.succeed(1)
    marathon.broken = 503
    desk.look()
    assert desk.of(build_id).message == "Marathon answered 503: out of order"
    marathon.broken = None
    desk.look()
    marathon.broken = 502
    desk.now += 600.0
    desk.look()
    marathon.deployments.clear()  # it is over meanwhile
    assert desk.of(build_id).state is State.DEPLOYING
    marathon.broken = None
    assert desk.look_until_over(build_id).state is State.SUCCEEDED


def test_an_older_build_does_not_replace_a_later_one(desk: Desk, marathon: double.Marathon) -> None:
    older, later = waiting(1), waiting(2)
    for each in (older, later):
        desk.store.apply([Change(each)])
    desk.end(later)
    assert desk.look_until_over(later.id).state is State.SUCCEEDED
    desk.end(older)
    over = desk.look_until_over(older.id)
    assert over.state is State.SKIPPED
    assert later.id in (over.message or "")
    assert marathon.image(APP) == image(2)


def test_one_at_a_time_in_an_app_and_others_beside(desk: Desk, marathon: double.Marathon) -> None:
    marathon.has("/shop/db", "registry.example.org/shop/db:1")
    first = desk.succeed(1)
    desk.look()
    second, beside = desk.succeed(2), desk.succeed(3, "/shop/db")
    desk.look()
    assert [desk.of(x).state for x in (first, second)] == [State.DEPLOYING, State.WAITING]
    assert desk.of(beside).state is State.DEPLOYING
    assert desk.look_until_over(second).state is State.SUCCEEDED
    assert desk.of(first).state is State.SUCCEEDED
    assert [body["container"]["docker"]["image"] for body in marathon.puts(APP)] == [
        image(1),
        image(2),
    ]


def test_without_a_marathon_nothing_waits_for_ever(desk: Desk) -> None:
    build_id = desk.succeed(1)
    Deployer(desk.store.deployments, None, lambda: desk.now)._round()
    assert desk.of(build_id).state is State.FAILED
    assert "BUILDER_MARATHON_URL" in (desk.of(build_id).message or "")


def test_the_worker_looks_by_itself(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.01)
    caplog.set_level(logging.INFO)
    worker = Deployer(desk.store.deployments, desk.client())
    worker.start()
    build_id = desk.succeed(1)
    until(lambda: not desk.of(build_id).going_on)
    worker.stop()
    assert not worker.alive
    assert desk.of(build_id).state is State.SUCCEEDED
    assert f"{image(1)} in {APP}: SUCCEEDED" in caplog.text
    assert LOGIN[1] not in caplog.text


def test_who_shows_a_build_asks_for_its_deployment(desk: Desk) -> None:
    build = waiting(1)
    desk.store.apply([Change(build)])
    assert deployment_of(build, desk.store) is None
    desk.end(build)
    found = deployment_of(desk.store.get(build.id), desk.store)
    assert found == desk.of(build.id)


# -- the client alone -----------------------------------------------------------------------------


def test_what_the_client_makes_of_answers(desk: Desk, marathon: double.Marathon) -> None:
    client = desk.client()
    assert client.app("/none") is None
    found = client.app(APP)
    assert found is not None
    assert (found.image, found.instances, found.whole) == (OLD, 2, True)
    put = Put(APP, rules.with_image(found.container or {}, "x:2"))
    made = client.carry_out(put)
    assert isinstance(made, Accepted)
    assert client.carry_out(put) == Locked((made.marathon_id,))
    assert isinstance(client.carry_out(Revert(made.marathon_id)), Accepted)
    assert client.carry_out(Revert(made.marathon_id)) == Gone()
    marathon.broken = 403
    assert client.carry_out(put) == Refused("Marathon answered 403: out of order")
    for later in (500, 503, 429):
        marathon.broken = later
        assert client.carry_out(put) == Unknown(f"Marathon answered {later}: out of order")


def test_too_many_deployments_are_a_lock(
    desk: Desk, marathon: double.Marathon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """403, in words of `TooManyRunningDeploymentsException`."""
    said = "Max number (100) of running deployments is achieved. Wait for existing deployments"
    monkeypatch.setattr(marathon, "put", lambda *_, **__: (403, {"message": said}))
    assert desk.client().carry_out(Put(APP, {})) == Locked(())


def test_one_app_that_shows_a_defect_holds_up_no_other(
    desk: Desk, marathon: double.Marathon, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd:
        def __init__(self, real: Marathon) -> None:
            self._real = real

        def app(self, app_id: str) -> App | None:
            if app_id == "/shop/db":
                raise ZeroDivisionError
            return self._real.app(app_id)

        def carry_out(self, command: Command) -> Answer:
            return self._real.carry_out(command)

    first, second = desk.succeed(1, "/shop/db"), desk.succeed(2)
    desk.look(Odd(desk.client()))
    assert desk.of(first).state is State.WAITING
    assert desk.of(second).state is State.DEPLOYING
    assert "the deployment to /shop/db has to wait" in caplog.text


def test_a_wrong_login_is_named(marathon: double.Marathon) -> None:
    client = Marathon(marathon.url, ("ops", Secret("wrong")))
    with pytest.raises(MarathonError, match="401: Invalid username or password"):
        client.app(APP)


@pytest.mark.parametrize("status", [200, 204, 302])
def test_what_is_no_marathon(desk: Desk, marathon: double.Marathon, status: int) -> None:
    """No redirect is followed: the login is for this server."""
    marathon.broken = status
    with pytest.raises(MarathonError):
        desk.client().app(APP)
    assert isinstance(desk.client().carry_out(Put(APP, {})), Unknown)
    assert len(marathon.requests) == 2


def test_one_that_is_not_there() -> None:
    began = time.monotonic()
    client = Marathon("http://127.0.0.1:1")
    with pytest.raises(MarathonError, match="no connection"):
        client.app(APP)
    missing = Marathon("https://127.0.0.1:1", ca_file=Path("/nowhere/ca.pem"))
    with pytest.raises(MarathonError):
        missing.app(APP)
    assert time.monotonic() - began < 5


def test_answers_that_are_not_of_the_api(
    desk: Desk, marathon: double.Marathon, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: Callable[[str], Any] = marathon.show
    whole = shown(APP)[1]["app"]
    spoilt: list[Any] = [{**whole, "instances": "many"}, {"version": "1"}]
    for each in spoilt:
        monkeypatch.setattr(marathon, "show", lambda _, each=each: (200, {"app": each}))
        with pytest.raises(MarathonError, match="not what its API says"):
            desk.client().app(APP)
    monkeypatch.setattr(marathon, "show", shown)
    assert desk.client().app(APP) is not None


def test_its_end_is_told_once_and_nothing_before(desk: Desk, marathon: double.Marathon) -> None:
    heard: list[str] = []

    def told(deployment: Deployment, now: float) -> tuple[Delivery, ...]:
        heard.append(deployment.state.value)
        url = Secret("https://hooks.example.org/t0ken")
        return (
            Delivery(
                f"msg_{len(heard)}",
                deployment.build_id,
                "build.deployed",
                url,
                "{}",
                created_at=now,
                next_at=now,
            ),
        )

    build_id = desk.succeed(1)
    for _ in range(60):
        desk.look_and_tell(told)
    assert heard == ["SUCCEEDED"]
    assert [view.delivery.id for view in desk.store.outbox.of_build(build_id)] == ["msg_1"]
