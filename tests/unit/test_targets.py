"""What chats and forges are told of builds, and who may ask for it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from builder_framework.domain import chat, commit_status, targets
from builder_framework.domain import events as ev
from builder_framework.domain.announcer import Announcer
from builder_framework.domain.delivery import Delivery
from builder_framework.domain.deployment import Deployment, DeploymentState
from builder_framework.domain.model import Build, BuildRequest, NotifyRequest
from builder_framework.domain.notices import Notice
from builder_framework.domain.states import State
from builder_framework.domain.targets import Filter, Kind, Target
from builder_framework.protocol import Outcome, Phase, Reason, Report
from builder_framework.recipe import (
    GitSource,
    InlineSource,
    RegistryAuth,
    Source,
    TarballSource,
    TaskSource,
    UploadSource,
)
from builder_framework.redact import Secret
from tests.unit.test_notices import PLACEMENT, REQUEST, step, submitted

pytestmark = pytest.mark.domain

COMMIT = "c0ffee" + "0" * 34
QUIET = replace(REQUEST, webhooks=())
EVERYTHING = Filter(frozenset(Notice))
CHAT = Target("chat", Kind.ROCKETCHAT, Secret("https://chat.example.org/hooks/1/t0ken"), EVERYTHING)


def forge(kind: Kind, url: str = "https://git.example.org", **others: Any) -> Target:
    return Target("forge", kind, Secret(url), EVERYTHING, token=Secret("gl-t0ken"), **others)


def git(url: str = "https://git.example.org/shop/web.git", ref: str = "main") -> BuildRequest:
    return replace(QUIET, source=Source(GitSource(url, ref)))


def told(
    target: Target, request: BuildRequest = QUIET, *, end: ev.Event | None = None
) -> list[Delivery]:
    """What a target hears of a build from its acceptance to its end, 200 s later."""
    announcer = Announcer((), "https://builder.example.org", (target,))
    pushed = Report(Phase.PUSHING, Outcome.SUCCEEDED, commit=COMMIT, digest="sha256:9d4e")
    previous: Build | None = None
    build = submitted(request)
    found = list(announcer.deliveries_of(previous, build, 1.0))
    for now, event in (
        (2.0, ev.Placed(PLACEMENT)),
        (3.0, ev.TaskProgressed(1, Report(Phase.CLONING))),
        (4.0, ev.TaskProgressed(1, Report(Phase.BUILDING, commit=COMMIT))),
        (5.0, ev.TaskProgressed(1, Report(Phase.PUSHING, commit=COMMIT))),
        (201.0, end or ev.TaskSucceeded(1, pushed)),
    ):
        previous, build = build, step(build, event, now)
        found += announcer.deliveries_of(previous, build, now)
    assert len({one.id for one in found}) == len(found)
    assert all(one.target == target.name for one in found)
    return found


def attachment(delivery: Delivery) -> dict[str, Any]:
    (found,) = json.loads(delivery.payload)["attachments"]
    assert isinstance(found, dict)
    return found


FAILED = ev.TaskFailed(
    1, Reason.STEP_FAILED, "RUN make: exit code 2", Report(Phase.BUILDING, commit=COMMIT)
)


def test_a_chat_reads_who_built_what_and_how_it_ended() -> None:
    *others, last = told(CHAT)
    assert [one.event for one in others] == [
        "build.queued",
        "build.started",
        "build.phase",
        "build.phase",
        "build.phase",
    ]
    found = attachment(last)
    assert found["title"] == "registry.example.org/app:1 succeeded after 3 min 20 s"
    assert found["title_link"] == f"https://builder.example.org/ui/builds/{'b' * 16}"
    assert found["color"] == "#2e8540"
    fields = {field["title"]: field["value"] for field in found["fields"]}
    assert fields == {
        "Source": "https://git.example.org/app.git main",
        "Commit": COMMIT[:12],
        "By": "ann",
        "Digest": "sha256:9d4e",
        "Build": "b" * 16,
    }
    assert last.url.reveal() == CHAT.url.reveal()


DEPLOYMENT = Deployment("b" * 16, "/shop/web", "registry.example.org/app@sha256:1", 60.0, 1.0)


def after_deployment(target: Target, **changes: Any) -> list[Delivery]:
    """What a target hears of the end of a deployment."""
    build = step(submitted(QUIET), ev.Placed(PLACEMENT), 2.0)
    report = Report(Phase.PUSHING, Outcome.SUCCEEDED, digest="sha256:1")
    build = step(build, ev.TaskSucceeded(1, report), 9.0)
    announcer = Announcer((), "https://builder.example.org", (target,))
    return list(announcer.deployed(build, replace(DEPLOYMENT, **changes), 60.0))


@pytest.mark.parametrize(
    ("state", "words", "color"),
    [
        (DeploymentState.SUCCEEDED, "runs in /shop/web", "#2e8540"),
        (DeploymentState.SKIPPED, "was not deployed to /shop/web: a later build is", "#2e8540"),
        (
            DeploymentState.ROLLED_BACK,
            "did not come up in /shop/web, which was rolled back",
            "#c62828",
        ),
        (DeploymentState.FAILED, "was not deployed to /shop/web", "#c62828"),
    ],
)
def test_a_chat_reads_what_became_of_the_image(
    state: DeploymentState, words: str, color: str
) -> None:
    (delivery,) = after_deployment(CHAT, state=state, message="TASK_FAILED: *no*")
    found = attachment(delivery)
    assert found["title"] == f"registry.example.org/app:1 {words}"
    assert found["color"] == color
    reasons = [each["value"] for each in found["fields"] if each["title"] == "Reason"]
    assert [text.replace("\u2060", "") for text in reasons] == ["TASK_FAILED: *no*"]
    (silent,) = after_deployment(CHAT, state=state)
    assert "Reason" not in {each["title"] for each in attachment(silent)["fields"]}


def test_a_webhook_reads_the_whole_of_it_and_a_forge_nothing() -> None:
    hook = replace(CHAT, kind=Kind.WEBHOOK)
    done = {"state": DeploymentState.SUCCEEDED, "previous": "app:1", "ended_at": 61.0}
    (delivery,) = after_deployment(hook, **done)
    message = json.loads(delivery.payload)
    assert (message["type"], message["timestamp"]) == (
        "build.deployed",
        "1970-01-01T00:01:01.000Z",
    )
    assert message["data"]["deployment"] == {
        "state": "SUCCEEDED",
        "app": "/shop/web",
        "image": "registry.example.org/app@sha256:1",
        "previous": "app:1",
        "message": None,
        "ended_at": "1970-01-01T00:01:01.000Z",
    }
    assert message["data"]["sequence"] == 4
    (earlier, *_) = [one for one in told(hook) if one.event == "build.finished"]
    assert "deployment" not in json.loads(earlier.payload)["data"]
    assert after_deployment(forge(Kind.GITLAB)) == []
    assert after_deployment(replace(hook, filter=Filter(frozenset({Notice.FINISHED})))) == []


def test_a_chat_reads_why_it_failed() -> None:
    request = replace(QUIET, images=("r.example.org/a:1", "r.example.org/a:2"), project="shop")
    found = attachment(told(CHAT, request, end=FAILED)[-1])
    assert found["title"] == "r.example.org/a:1 (+1) failed after 3 min 20 s"
    fields = {field["title"]: field["value"] for field in found["fields"]}
    assert fields["Reason"] == "step_failed: RUN make: exit code 2"
    assert fields["Project"] == "shop"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (Source(GitSource("https://git.example.org/a.git")), "https://git.example.org/a.git"),
        (
            Source(tarball=TarballSource("https://x.example.org/a.tgz")),
            "https://x.example.org/a.tgz",
        ),
        (Source(upload=UploadSource("u", "0" * 64, 1, Secret("t"))), "an upload"),
        (Source(inline=InlineSource("FROM scratch")), "a Dockerfile of the request"),
        (Source(task=TaskSource("docker.io/library/busybox:1")), "a task"),
    ],
)
def test_a_chat_reads_where_it_came_from(source: Source, shown: str) -> None:
    found = attachment(told(CHAT, replace(QUIET, source=source))[0])
    assert found["fields"][0]["value"] == shown


HOSTILE = "*x* [a](javascript:b) @all <!channel> <https://evil.example.org|ok> `c` \u202e\x00"


def test_a_task_is_known_by_the_image_that_it_runs() -> None:
    source = Source(task=TaskSource("docker.io/library/busybox:1"))
    found = attachment(told(CHAT, replace(QUIET, source=source, images=()))[0])
    assert found["title"].replace("\u2060", "").startswith("docker.io/library/busybox:1 is queued")


def test_what_others_wrote_is_no_markup_in_rocket_chat() -> None:
    found = attachment(told(CHAT, git(ref=HOSTILE))[0])["fields"][0]["value"]
    assert "@all" not in found
    assert "](" not in found
    assert "*x*" not in found
    assert "\u202e" not in found
    assert found.replace("\u2060", "").endswith(HOSTILE.replace("\u202e\x00", " "))


def test_what_others_wrote_is_no_markup_in_slack() -> None:
    slack = replace(CHAT, kind=Kind.SLACK)
    found = attachment(told(slack, git(ref=HOSTILE))[0])["fields"][0]["value"]
    assert "<" not in found
    assert "&lt;!channel&gt;" in found


def test_long_texts_are_cut_and_secrets_masked_before() -> None:
    secret = "s3cret-" + "x" * 30
    request = replace(
        git(ref="r" * (chat.MAX_TEXT - 20) + secret + "r" * 200),
        registry_auth=RegistryAuth("ann", Secret(secret)),
    )
    found = attachment(told(CHAT, request)[0])["fields"][0]["value"]
    assert len(found) <= chat.MAX_TEXT + 40
    assert "s3cret" not in found
    assert found.endswith("…")
    nowhere = Announcer((), None, (CHAT,)).deliveries_of(None, submitted(QUIET), 1.0)
    assert "title_link" not in attachment(nowhere[0])


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert chat.duration(seconds) == text


@pytest.mark.parametrize(
    ("kind", "path", "words"),
    [
        (Kind.GITLAB, "/api/v4/projects/shop%2Fweb/statuses/", ("running", "success", "failed")),
        (Kind.GITHUB, "/api/v3/repos/shop/web/statuses/", ("pending", "success", "failure")),
        (Kind.GITEA, "/api/v1/repos/shop/web/statuses/", ("pending", "success", "failure")),
    ],
)
def test_a_forge_sees_a_status_at_the_commit(
    kind: Kind, path: str, words: tuple[str, str, str]
) -> None:
    """Of a branch from when its commit is known: once it was cloned."""
    runs, succeeded, failed = words
    good, bad = told(forge(kind), git()), told(forge(kind), git(), end=FAILED)
    assert [json.loads(one.payload)["state"] for one in good] == [runs, succeeded]
    assert [json.loads(one.payload)["state"] for one in bad] == [runs, failed]
    assert {one.url.reveal() for one in good} == {f"https://git.example.org{path}{COMMIT}"}
    end = json.loads(bad[-1].payload)
    assert end["name" if kind is Kind.GITLAB else "context"] == "builder"
    assert end["description"] == "step_failed after 3 min 20 s"
    assert end["target_url"] == f"https://builder.example.org/ui/builds/{'b' * 16}"


def test_a_commit_that_the_request_names_has_a_status_from_the_start() -> None:
    states = [json.loads(one.payload)["state"] for one in told(forge(Kind.GITLAB), git(ref=COMMIT))]
    assert states == ["pending", "running", "success"]


def test_a_cancelled_build_is_no_failure_at_gitlab() -> None:
    announcer = Announcer((), None, (forge(Kind.GITLAB),))
    queued = submitted(git(ref=COMMIT))
    over = step(queued, ev.CancelRequested("ann"), 5.0)
    (last,) = announcer.deliveries_of(queued, over, 5.0)
    assert json.loads(last.payload) == {
        "state": "canceled",
        "name": "builder",
        "description": "cancelled after 4 s",
    }


@pytest.mark.parametrize(
    ("url", "root", "path"),
    [
        ("git@git.example.org:shop/web.git", "https://git.example.org", "shop%2Fweb"),
        ("ssh://git@git.example.org:2222/shop/web.git", "https://git.example.org/", "shop%2Fweb"),
        ("https://git.example.org/a/b/c/web", "https://git.example.org", "a%2Fb%2Fc%2Fweb"),
        ("https://GIT.example.org/git/shop/web.git", "https://git.example.org/git", "shop%2Fweb"),
    ],
)
def test_a_repository_is_found_by_its_url(url: str, root: str, path: str) -> None:
    last = told(forge(Kind.GITLAB, root), git(url))[-1]
    assert f"/api/v4/projects/{path}/statuses/" in last.url.reveal()


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("https://github.com/shop/web.git", "https://git.example.org"),
        ("https://git.example.org.evil.example/shop/web.git", "https://git.example.org"),
        ("https://git.example.org/web.git", "https://git.example.org"),
        ("https://git.example.org/shop/../web.git", "https://git.example.org"),
        ("https://git.example.org/shop/web%2f..%2f.git", "https://git.example.org"),
        ("https://git.example.org/other/shop/web.git", "https://git.example.org/git"),
        ("https://git.example.org/shop//web.git", "https://git.example.org"),
    ],
)
def test_the_token_goes_nowhere_else(url: str, root: str) -> None:
    assert told(forge(Kind.GITLAB, root), git(url)) == []


def test_githubs_own_api_is_on_a_host_of_its_own() -> None:
    last = told(forge(Kind.GITHUB, "https://github.com"), git("https://github.com/shop/web"))[-1]
    assert last.url.reveal() == f"https://api.github.com/repos/shop/web/statuses/{COMMIT}"
    elsewhere = forge(Kind.GITHUB, api="https://proxy.example.org/gh")
    last = told(elsewhere, git())[-1]
    assert last.url.reveal() == f"https://proxy.example.org/gh/repos/shop/web/statuses/{COMMIT}"


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        (Kind.GITLAB, {"PRIVATE-TOKEN": "gl-t0ken"}),
        (Kind.GITHUB, {"Authorization": "Bearer gl-t0ken"}),
        (Kind.GITEA, {"Authorization": "token gl-t0ken"}),
    ],
)
def test_how_each_forge_is_shown_the_token(kind: Kind, header: dict[str, str]) -> None:
    assert commit_status.token_header(forge(kind)) == header
    assert commit_status.token_header(replace(forge(kind), token=None)) == {}


def test_what_has_no_commit_has_no_status() -> None:
    inline = replace(QUIET, source=Source(inline=InlineSource("FROM scratch")))
    assert told(forge(Kind.GITEA), inline) == []
    lost = ev.TaskFailed(1, Reason.GIT_REF_NOT_FOUND, "no", Report(Phase.CLONING))
    announcer = Announcer((), None, (forge(Kind.GITEA),))
    build = step(step(submitted(git()), ev.Placed(PLACEMENT), 2.0), lost, 3.0)
    assert announcer.deliveries_of(None, build, 3.0) == ()


def test_a_target_hears_what_it_was_set_to() -> None:
    ends = replace(CHAT, filter=Filter(frozenset({Notice.FINISHED}), frozenset({State.FAILED})))
    assert told(ends) == []
    assert [one.event for one in told(ends, end=FAILED)] == ["build.finished"]


def test_a_webhook_hears_of_phases_where_it_is_set_to() -> None:
    hook = Target("hook", Kind.WEBHOOK, Secret("https://hooks.example.org/1"), EVERYTHING)
    phases = [json.loads(one.payload)["data"] for one in told(hook) if one.event == "build.phase"]
    assert [data["phase"] for data in phases] == ["CLONING", "BUILDING", "PUSHING"]
    usual = [one.event for one in told(replace(hook, filter=Filter()))]
    assert usual == ["build.queued", "build.started", "build.finished"]


def test_a_target_of_a_project_hears_of_its_builds_alone() -> None:
    shops = replace(CHAT, projects=frozenset({"shop"}))
    assert told(shops) == []
    assert told(shops, replace(QUIET, project="cart")) == []
    assert told(shops, replace(QUIET, project="shop"))


ASKED = replace(CHAT, always=False, channel="#builds", channels=frozenset({"#shop"}))


def test_a_build_asks_for_a_target_and_says_what_it_hears() -> None:
    assert told(ASKED) == []
    asks = NotifyRequest("chat", "#shop", events=("finished",), outcomes=("failed",))
    assert told(ASKED, replace(QUIET, notify=(asks,))) == []
    (last,) = told(ASKED, replace(QUIET, notify=(asks,)), end=FAILED)
    assert json.loads(last.payload)["channel"] == "#shop"
    plain = told(ASKED, replace(QUIET, notify=(NotifyRequest("chat"),)))
    assert {json.loads(one.payload)["channel"] for one in plain} == {"#builds"}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (NotifyRequest("chat"), None),
        (NotifyRequest("chat", "#builds"), None),
        (NotifyRequest("chat", "#shop"), None),
        (NotifyRequest("chat", "#general"), "no such channel to choose; there are: #shop"),
        (NotifyRequest("forge"), None),
        (NotifyRequest("forge", "#shop"), "is no chat"),
        (NotifyRequest("all"), "is told of every build already"),
        (NotifyRequest("none"), "there is no target 'none' for this build; there are: chat, forge"),
        (NotifyRequest("shops"), "there is no target 'shops'"),
    ],
)
def test_what_requests_may_ask_for(asked: NotifyRequest, words: str | None) -> None:
    known = (
        ASKED,
        replace(CHAT, name="all"),
        replace(ASKED, name="shops", projects=frozenset({"shop"})),
        replace(forge(Kind.GITLAB), always=False),
    )
    found = targets.fault(asked, known, None)
    assert found is None if words is None else found is not None and words in found
    assert targets.fault(NotifyRequest("shops"), known, "shop") is None


def test_without_targets_none_is_there() -> None:
    assert targets.fault(NotifyRequest("x"), (), None) is not None
    bare = replace(ASKED, channels=frozenset())
    assert "there are: none" in (targets.fault(NotifyRequest("chat", "#x"), (bare,), None) or "")
