"""What is done about an app, from how it looks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from builder_framework.domain import apps
from builder_framework.domain import deployment as rules
from builder_framework.domain.access import Actor, Role
from builder_framework.domain.apps import MarathonDeploy
from builder_framework.domain.deployment import (
    Accepted,
    App,
    Deployment,
    DeploymentState,
    Gone,
    Locked,
    Put,
    Refused,
    Revert,
    Running,
    Step,
    Unknown,
)
from builder_framework.domain.model import Build, BuildRequest, Resources, Result
from builder_framework.domain.projects import Catalog, Project, refusals
from builder_framework.domain.states import State
from builder_framework.errors import InvalidValueError
from builder_framework.recipe import GitSource, Source

pytestmark = pytest.mark.domain

DIGEST = f"sha256:{'a' * 64}"
NEW = f"registry.example.org/shop/web@{DIGEST}"
OLD = "registry.example.org/shop/web:1"
REQUEST = BuildRequest(
    Source(GitSource("https://git.example.org/app.git")),
    ("registry.example.org/shop/web:2", "registry.example.org/other:2"),
    timeout=600.0,
    queue_ttl=600.0,
    resources=Resources(1.0, 512.0),
    deploy=MarathonDeploy("/shop/web", 60.0),
)
BUILD = Build("0" * 16, REQUEST, "ann", 1.0, state=State.RUNNING)
DONE = replace(BUILD, state=State.SUCCEEDED, result=Result(digest=DIGEST))
WAITING = Deployment("0" * 16, "/shop/web", NEW, 60.0, 100.0)
DEPLOYING = replace(
    WAITING, state=DeploymentState.DEPLOYING, started_at=110.0, previous=OLD, base="v1"
)
TAKEN = replace(DEPLOYING, marathon_id="d1")
BACK = replace(TAKEN, state=DeploymentState.ROLLING_BACK, message="not over", back_until=240.0)
OURS, OTHER = Running("d1", "v2"), Running("d2", "v3")


def app(image: str = OLD, version: str = "v1", **fields: Any) -> App:
    told = {"instances": 2, "running": 2, "healthy": 2, **fields}
    docker = {"image": image, "parameters": [{"key": "a", "value": "b"}]}
    return App(version, {"type": "DOCKER", "docker": docker}, **told)


def going_on(*deployments: Running, image: str = NEW, version: str = "v2") -> App:
    return app(image, version, deployments=deployments, healthy=1)


def state(step: Step) -> DeploymentState:
    return step.deployment.state


def said(deployment: Deployment) -> str:
    return deployment.message or ""


# -- when there is one ----------------------------------------------------------------------------


def test_the_success_of_a_build_makes_it_due_by_digest() -> None:
    assert rules.due(BUILD, DONE, 100.0) == WAITING
    assert WAITING.digest == DIGEST
    assert rules.due(None, DONE, 100.0) == WAITING


@pytest.mark.parametrize(
    ("previous", "build"),
    [
        (None, BUILD),
        (BUILD, replace(BUILD, state=State.FAILED)),
        (DONE, replace(DONE, log_complete=True)),
        (BUILD, replace(DONE, request=replace(REQUEST, deploy=None))),
    ],
)
def test_nothing_else_does(previous: Build | None, build: Build) -> None:
    assert rules.due(previous, build, 100.0) is None


def test_an_image_without_digest_is_not_deployed() -> None:
    made = rules.due(BUILD, replace(DONE, result=Result()), 100.0)
    assert made is not None
    assert made.state is DeploymentState.FAILED
    assert made.digest is None
    assert not made.going_on


# -- waiting --------------------------------------------------------------------------------------


def test_a_free_app_gets_the_image_and_keeps_the_rest_of_its_container() -> None:
    seen = app()
    step = rules.look(WAITING, seen, None, 110.0)
    assert step.deployment == DEPLOYING
    assert isinstance(step.command, Put)
    assert step.command.app == "/shop/web"
    assert step.command.container == {
        "type": "DOCKER",
        "docker": {"image": NEW, "parameters": [{"key": "a", "value": "b"}]},
    }
    assert seen.image == OLD


def test_a_lock_is_waited_for_but_not_for_ever() -> None:
    seen = app(deployments=(OTHER,))
    step = rules.look(WAITING, seen, None, 160.0)
    assert (state(step), step.command) == (DeploymentState.WAITING, None)
    assert "d2" in said(step.deployment)
    late = rules.look(step.deployment, seen, None, 161.0)
    assert (state(late), late.command) == (DeploymentState.FAILED, None)
    assert "nothing was changed" in said(late.deployment)
    assert late.deployment.ended_at == 161.0


def test_an_app_with_the_image_is_left_alone() -> None:
    step = rules.look(WAITING, app(NEW), None, 110.0)
    assert (state(step), step.command) == (DeploymentState.SUCCEEDED, None)
    assert state(rules.look(WAITING, going_on(OTHER), None, 110.0)) is DeploymentState.WAITING


def test_the_image_of_a_later_build_is_not_replaced() -> None:
    step = rules.look(WAITING, app(), "later", 110.0)
    assert (state(step), step.command) == (DeploymentState.SKIPPED, None)
    assert "later" in said(step.deployment)


@pytest.mark.parametrize("before", [WAITING, TAKEN, BACK])
@pytest.mark.parametrize(
    "seen",
    [
        None,
        App("v1", None),
        App("v1", {"type": "MESOS"}),
        App("v1", {"docker": {"image": 1}}),
    ],
)
def test_what_has_no_image_gets_none(before: Deployment, seen: App | None) -> None:
    step = rules.look(before, seen, None, 110.0)
    assert (state(step), step.command) == (DeploymentState.FAILED, None)


# -- deploying ------------------------------------------------------------------------------------


def test_it_is_over_when_marathon_is_done_and_all_tasks_are_well() -> None:
    step = rules.look(TAKEN, going_on(OURS), None, 120.0)
    assert (state(step), step.command) == (DeploymentState.DEPLOYING, None)
    assert said(step.deployment) == "2 of 2 tasks run, 1 healthy"
    # Gone, but not well: whoever ended it did so by force.
    assert state(rules.look(TAKEN, going_on(), None, 120.0)) is DeploymentState.DEPLOYING
    over = rules.look(step.deployment, app(NEW, "v2", healthy=None), None, 121.0)
    assert state(over) is DeploymentState.SUCCEEDED
    assert over.deployment.message is None
    assert over.deployment.ended_at == 121.0
    # A look that comes late does not make it a failure.
    assert state(rules.look(TAKEN, app(NEW, "v2"), None, 9e9)) is DeploymentState.SUCCEEDED


def test_when_its_time_is_over_it_is_undone() -> None:
    seen = replace(going_on(OURS), failure="TASK_FAILED: exited with 1")
    step = rules.look(TAKEN, seen, None, 171.0)
    assert state(step) is DeploymentState.ROLLING_BACK
    assert step.command == Revert("d1")
    assert step.deployment.back_until == 231.0
    assert "not over after 60 s" in said(step.deployment)
    assert "exited with 1" in said(step.deployment)


def test_one_that_somebody_ended_by_force_is_no_success() -> None:
    step = rules.look(TAKEN, going_on(OTHER), None, 171.0)
    assert (state(step), step.command) == (DeploymentState.FAILED, None)
    assert "not rolled back" in said(step.deployment)


def test_after_a_lost_answer_ours_is_known_by_its_version() -> None:
    step = rules.look(DEPLOYING, going_on(Running("d9", "v9"), OURS), None, 120.0)
    assert step.deployment.marathon_id == "d1"
    assert step.command is None
    over = rules.look(DEPLOYING, app(NEW, "v2"), None, 120.0)
    assert state(over) is DeploymentState.SUCCEEDED
    late = rules.look(DEPLOYING, going_on(OURS), None, 171.0)
    assert late.command == Revert("d1")


def test_what_was_not_taken_is_told_again_while_nobody_else_changed_the_app() -> None:
    step = rules.look(DEPLOYING, app(), None, 120.0)
    assert isinstance(step.command, Put)
    assert step.deployment == replace(DEPLOYING, unsure=True)
    changed = rules.look(DEPLOYING, app(version="v5"), None, 120.0)
    assert (state(changed), changed.command) == (DeploymentState.FAILED, None)
    late = rules.look(DEPLOYING, app(), None, 171.0)
    assert (state(late), late.command) == (DeploymentState.FAILED, None)
    assert "nothing was changed" in said(late.deployment)


@pytest.mark.parametrize("image", [OLD, "registry.example.org/shop/web:3"])
def test_another_image_is_somebodys_wish(image: str) -> None:
    step = rules.look(TAKEN, app(image, "v5"), None, 120.0)
    assert (state(step), step.command) == (DeploymentState.FAILED, None)
    assert "somebody else" in said(step.deployment)
    assert image in said(step.deployment)


# -- rolling back ---------------------------------------------------------------------------------


def test_it_is_back_when_that_is_over() -> None:
    step = rules.look(BACK, going_on(OTHER, image=OLD, version="v3"), None, 200.0)
    assert (state(step), step.command) == (DeploymentState.ROLLING_BACK, None)
    over = rules.look(BACK, app(OLD, "v3"), None, 200.0)
    assert state(over) is DeploymentState.ROLLED_BACK
    assert said(over.deployment) == f"not over; the app has {OLD} again"
    late = rules.look(BACK, going_on(OTHER, image=OLD, version="v3"), None, 241.0)
    assert state(late) is DeploymentState.FAILED


def test_it_is_asked_for_until_it_is_seen() -> None:
    assert rules.look(BACK, going_on(OURS), None, 200.0).command == Revert("d1")
    late = rules.look(BACK, going_on(OURS), None, 241.0)
    assert (state(late), late.command) == (DeploymentState.FAILED, None)


def test_one_that_ends_before_it_is_undone_is_what_it_is() -> None:
    assert state(rules.look(BACK, app(NEW, "v2"), None, 200.0)) is DeploymentState.SUCCEEDED
    ill = going_on(OTHER)
    assert rules.look(BACK, ill, None, 200.0) == Step(BACK)
    assert state(rules.look(BACK, ill, None, 241.0)) is DeploymentState.FAILED
    other = rules.look(BACK, app("x:3", "v5"), None, 200.0)
    assert state(other) is DeploymentState.FAILED
    assert "somebody gave the app x:3" in said(other.deployment)


# -- answers --------------------------------------------------------------------------------------

PUT, REVERT = Put("/shop/web", {}), Revert("d1")


def test_what_marathon_says_to_a_new_image() -> None:
    assert rules.told(DEPLOYING, PUT, Accepted("d1"), 120.0) == TAKEN
    locked = rules.told(DEPLOYING, PUT, Locked(("d2",)), 120.0)
    assert replace(locked, message=None) == WAITING
    assert "d2" in said(locked)
    assert "other deployments" in said(rules.told(DEPLOYING, PUT, Locked(()), 120.0))
    # It may be our own, from before an answer got lost: what was stored stays.
    unsure = replace(DEPLOYING, unsure=True)
    assert rules.told(unsure, PUT, Locked(()), 120.0) == unsure
    assert rules.told(DEPLOYING, PUT, Unknown("no answer"), 120.0) == DEPLOYING
    refused = rules.told(DEPLOYING, PUT, Refused("x" * 1000), 120.0)
    assert refused.state is DeploymentState.FAILED
    assert len(said(refused)) == rules.MAX_MESSAGE_LENGTH


@pytest.mark.parametrize("answer", [Accepted("d3"), Gone(), Locked(()), Unknown("no answer")])
def test_what_it_says_to_a_rollback_is_seen_later(answer: rules.Answer) -> None:
    assert rules.told(BACK, REVERT, answer, 200.0) == BACK


def test_a_rollback_that_is_refused_is_told() -> None:
    refused = rules.told(BACK, REVERT, Refused("not yours"), 200.0)
    assert refused.state is DeploymentState.FAILED
    assert said(refused) == "not over; and Marathon refused to undo it: not yours"


def test_a_marathon_that_does_not_answer() -> None:
    why = "no connection"
    assert rules.unanswered(WAITING, why, 160.0) == replace(WAITING, message=why)
    assert rules.unanswered(WAITING, why, 161.0).state is DeploymentState.FAILED
    assert rules.unanswered(TAKEN, why, 9000.0) == replace(TAKEN, message=why)
    # Why it goes back is not forgotten.
    assert rules.unanswered(BACK, why, 9000.0) == BACK
    for each in (TAKEN, BACK):
        given_up = rules.unanswered(each, why, each.deadline + rules.PATIENCE + 1)
        assert given_up.state is DeploymentState.FAILED
        assert "not known" in said(given_up)


def test_it_can_be_given_up() -> None:
    assert rules.given_up(TAKEN, "no Marathon", 1.0).state is DeploymentState.FAILED


# -- who may --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["/a", "/shop/web", "/shop/web-1.blue", "/0"])
def test_ids_of_apps(text: str) -> None:
    assert apps.app_id(text) == text
    assert apps.prefix(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "shop",
        "/shop/",
        "//shop",
        "/Shop",
        "/shop/../x",
        "/shop?force=true",
        "/a b",
        "/shop/*",
        "/-a",
        "/shop/versions",
        "/tasks",
        "/a\n",
        f"/{'a' * 255}",
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(InvalidValueError):
        apps.app_id(text)


def test_beginnings_of_ids() -> None:
    assert apps.prefix("/") == "/"
    assert apps.any_begins(["/shop"], "/shop")
    assert apps.any_begins(["/x", "/shop"], "/shop/web")
    assert apps.any_begins(["/"], "/shop")
    assert not apps.any_begins(["/shop"], "/shopping")
    assert not apps.any_begins([], "/shop")


ADMIN = Actor("root", Role.ADMIN)
SHOP = Project("shop", apps=("/shop",))
BLUE = Project("blue", apps=("/shop/blue",))


@pytest.mark.parametrize(
    ("app_id", "project", "for_all", "says"),
    [
        ("/web", None, (), "is no app that builds may deploy to"),
        ("/web", None, ("/web",), None),
        ("/web", "shop", ("/web",), None),
        ("/web", "shop", (), "is no app that builds may deploy to"),
        ("/shop/a", None, ("/",), "belongs to project 'shop'"),
        ("/shop/a", "shop", (), None),
        ("/shop/blue/a", "shop", ("/",), "belongs to project 'blue'"),
        ("/shop/blue/a", "blue", (), None),
    ],
)
def test_apps_belong_to_projects(
    app_id: str, project: str | None, for_all: tuple[str, ...], says: str | None
) -> None:
    request = replace(REQUEST, project=project, deploy=MarathonDeploy(app_id))
    found = refusals(request, ADMIN, Catalog([SHOP, BLUE]), 0, for_all)
    assert [each.field for each in found] == ([] if says is None else ["deploy.marathon.app"])
    assert all(says is not None and says in each.problem for each in found)
