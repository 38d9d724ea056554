"""Messages to chats and forges, by the worker of a real store, to real servers."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder_framework.config import notify
from builder_framework.domain import events as ev
from builder_framework.domain import machine
from builder_framework.domain.announcer import Announcer
from builder_framework.domain.delivery import DeliveryState
from builder_framework.domain.model import Build
from builder_framework.domain.reach import Reach
from builder_framework.domain.targets import Target
from builder_framework.errors import ConfigError
from builder_framework.ports import DeliveryView
from builder_framework.protocol import Outcome, Phase, Report
from builder_framework.recipe import GitSource, Source
from builder_framework.redact import Secret
from builder_framework.service import webhooks as module
from builder_framework.service.post import Limits, Poster
from builder_framework.service.receivers import Receivers
from builder_framework.service.webhooks import Webhooks
from builder_framework.store.base import Change
from builder_framework.store.sql import SqlStore
from tests.notifications import __main__ as many
from tests.sealing import SEALER
from tests.unit.receivers import Receiver, Request, answers, receiving
from tests.unit.test_notices import PLACEMENT, REQUEST
from tests.unit.test_webhooks import SECRET, verified
from tests.unit.waiting import until

TOKEN = "gl-t0ken"
COMMIT = "c0ffee" + "0" * 34
LIFE: tuple[ev.Event, ...] = (
    ev.Placed(PLACEMENT),
    ev.TaskProgressed(1, Report(Phase.CLONING)),
    ev.TaskProgressed(1, Report(Phase.BUILDING, commit=COMMIT)),
    ev.TaskSucceeded(1, Report(Phase.PUSHING, Outcome.SUCCEEDED, commit=COMMIT, digest="sha256:1")),
)


class Office:
    """A store whose builds are told to `targets`, and a worker."""

    def __init__(self, directory: Path, targets: tuple[Target, ...], repository: str) -> None:
        self.store = SqlStore(f"sqlite:///{directory / 'builder.db'}", SEALER)
        self.store.lead("office", None)
        self.now = 1000.0
        self.targets = targets
        self.announcer = Announcer((), "https://builder.example.org", targets)
        source = Source(GitSource(repository, COMMIT))
        self.request = replace(REQUEST, source=source, webhooks=())
        self.build: Build | None = None
        self._workers: list[Webhooks] = []

    def work(self, **receivers: Any) -> Webhooks:
        found = Receivers(targets=self.targets, **receivers)
        poster = Poster(Limits(connect=5.0, total=20.0))
        worker = Webhooks(self.store.outbox, (SECRET,), poster, found, lambda: self.now)
        worker.start()
        self._workers.append(worker)
        return worker

    def happens(self, event: ev.Event) -> None:
        before = self.build
        self.build = machine.step(before, event, self.now, machine.MachinePolicy()).build
        due = self.announcer.deliveries_of(before, self.build, self.now)
        self.store.apply([Change(self.build, before, deliveries=due)])

    def submit(self) -> None:
        self.happens(ev.Submitted("b" * 16, self.request, "ann"))

    def views(self) -> tuple[DeliveryView, ...]:
        return self.store.outbox.of_build("b" * 16)

    def states(self) -> list[DeliveryState]:
        return [view.delivery.state for view in self.views()]

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()
        self.store.close()


Opened = Callable[..., Office]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """An office with the targets of a file, as the operator writes it."""
    monkeypatch.setattr(module, "_POLL", 0.02)
    monkeypatch.setattr(module, "_AFTER_ERROR", 0.02)
    made: list[Office] = []

    def call(text: str, repository: str = "https://git.example.org/shop/web.git") -> Office:
        file = tmp_path / "notify.toml"
        file.write_text(text)
        made.append(Office(tmp_path, notify.load(file), repository))
        return made[-1]

    yield call
    for office in made:
        office.close()


class GitLab:
    """What GitLab does with statuses of a commit: they only go on, and never to where they are."""

    def __init__(self, failing: int = 0) -> None:
        self.states: list[str] = []
        self.failing = failing

    def __call__(self, receiver: Receiver, connection: socket.socket) -> None:
        request = receiver.take(connection)
        status, said = self._answer(request)
        body = json.dumps({"message": said}).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)

    def _answer(self, request: Request) -> tuple[str, str]:
        if self.failing:
            self.failing -= 1
            return "502 Bad Gateway", "later"
        if request.headers.get("private-token") != "gl-t0ken":
            return "401 Unauthorized", "401 Unauthorized"
        if f"/api/v4/projects/shop%2Fweb/statuses/{COMMIT} " not in request.line:
            return "404 Not Found", "404 Commit Not Found"
        state = request.json()["state"]
        if self.states and self.states[-1] == state:
            return "400 Bad Request", f"Cannot transition status via :run from :{state}"
        self.states.append(state)
        return "201 Created", "ok"


def gitlab_file(receiver: Receiver, token: str = TOKEN) -> str:
    return (
        f'[gitlab]\nkind = "gitlab"\nurl = "http://127.0.0.1:{receiver.port}"\ntoken = "{token}"\n'
    )


def test_gitlab_shows_the_build_at_its_commit(opened: Opened) -> None:
    gitlab = GitLab()
    with receiving(gitlab) as receiver:
        office = opened(gitlab_file(receiver), "ssh://git@127.0.0.1:2222/shop/web.git")
        office.work()
        office.submit()
        for event in LIFE:
            office.happens(event)
        until(lambda: office.states() == [DeliveryState.DELIVERED] * 3)
    assert gitlab.states == ["pending", "running", "success"]
    assert "webhook-signature" not in receiver.requests[0].headers


def test_a_status_that_gitlab_has_already_is_delivered(opened: Opened) -> None:
    """The framework was killed before it could note that it had told."""
    gitlab = GitLab()
    gitlab.states.append("pending")
    with receiving(gitlab) as receiver:
        office = opened(gitlab_file(receiver), "http://127.0.0.1/shop/web")
        office.work()
        office.submit()
        until(lambda: office.states() == [DeliveryState.DELIVERED])


def test_a_status_that_can_never_be_is_given_up_at_once(opened: Opened) -> None:
    with receiving(GitLab()) as receiver:
        office = opened(gitlab_file(receiver), "https://127.0.0.1/shop/other")
        office.work()
        office.submit()
        until(lambda: office.states() == [DeliveryState.FAILED])
    (made,) = office.views()[0].tries
    assert made.error == "answered 404"


def test_a_wrong_token_is_tried_again(opened: Opened) -> None:
    """Somebody may mend it meanwhile."""
    with receiving(GitLab()) as receiver:
        office = opened(gitlab_file(receiver, "0ld"), "https://127.0.0.1/shop/web")
        office.work()
        office.submit()
        until(lambda: len(office.views()[0].tries) == 1)
    assert office.states() == [DeliveryState.PENDING]


def test_an_old_status_is_not_told_after_a_new_one(opened: Opened) -> None:
    gitlab = GitLab(failing=1)
    with receiving(gitlab) as receiver:
        office = opened(gitlab_file(receiver), "https://127.0.0.1/shop/web")
        office.work()
        office.submit()
        until(lambda: len(office.views()[0].tries) == 1)
        for event in LIFE:
            office.happens(event)
        until(lambda: office.states()[1:] == [DeliveryState.DELIVERED] * 2)
        office.now += 100
        until(lambda: office.states()[0] is DeliveryState.OVERTAKEN)
    assert gitlab.states == ["running", "success"]


@pytest.mark.parametrize(
    ("kind", "path", "authorization"),
    [
        ("github", "/api/v3/repos/shop/web/statuses/", "Bearer gh-t0ken"),
        ("gitea", "/api/v1/repos/shop/web/statuses/", "token gh-t0ken"),
    ],
)
def test_github_and_gitea_show_it(
    opened: Opened, tmp_path: Path, kind: str, path: str, authorization: str
) -> None:
    (tmp_path / "token").write_text("gh-t0ken\n")
    with receiving(answers("201 Created")) as receiver:
        office = opened(
            f'[forge]\nkind = "{kind}"\nurl = "http://127.0.0.1:{receiver.port}/"\n'
            f'token_file = "{tmp_path / "token"}"\ncontext = "images/web"\n',
            "git@127.0.0.1:shop/web.git",
        )
        office.work()
        office.submit()
        for event in LIFE:
            office.happens(event)
        until(lambda: office.states() == [DeliveryState.DELIVERED] * 3)
    assert [one.json()["state"] for one in receiver.requests] == ["pending", "pending", "success"]
    for request in receiver.requests:
        assert request.line == f"POST {path}{COMMIT} HTTP/1.1"
        assert request.headers["authorization"] == authorization
        assert request.json()["context"] == "images/web"
        assert request.json()["target_url"].endswith(f"/ui/builds/{'b' * 16}")


@pytest.mark.parametrize("kind", ["rocketchat", "slack"])
def test_a_chat_is_told_the_end(opened: Opened, kind: str) -> None:
    with receiving(answers("200 OK")) as receiver:
        office = opened(f'[chat]\nkind = "{kind}"\nurl = "{receiver.url}"\nchannel = "#builds"\n')
        office.work()
        office.submit()
        for event in LIFE:
            office.happens(event)
        until(lambda: office.states() == [DeliveryState.DELIVERED])
    (request,) = receiver.requests
    assert request.line == "POST /t0ken?x=1 HTTP/1.1"
    assert request.json()["channel"] == "#builds"
    assert request.json()["attachments"][0]["title"].endswith("succeeded after 0 s")


def test_a_webhook_of_the_file_is_signed_and_filtered(opened: Opened) -> None:
    with receiving(answers("204 No Content")) as receiver:
        office = opened(
            f'[hook]\nkind = "webhook"\nurl = "{receiver.url}"\nevents = ["phase", "finished"]\n'
            'outcomes = ["failed"]\n'
        )
        office.work()
        office.submit()
        for event in LIFE:
            office.happens(event)
        until(lambda: office.states() == [DeliveryState.DELIVERED] * 2)
    assert all(verified(request) for request in receiver.requests)
    phases = [request.json()["data"]["phase"] for request in receiver.requests]
    assert phases == ["CLONING", "BUILDING"]


def test_a_target_that_is_gone_ends_its_messages(opened: Opened) -> None:
    office = opened('[chat]\nkind = "slack"\nurl = "http://127.0.0.1:9/"\nevents = ["queued"]\n')
    office.submit()
    office.targets = ()
    office.work()
    until(lambda: office.states() == [DeliveryState.FAILED])
    assert office.views()[0].tries[0].error == "there is no target 'chat' any more"


def test_a_builds_own_webhook_reaches_no_inner_address(opened: Opened) -> None:
    with receiving(answers("200 OK")) as trap:
        office = opened("")
        office.request = replace(office.request, webhooks=(Secret(trap.url),))
        worker = office.work(reach=Reach())
        office.submit()
        until(lambda: len(office.views()[0].tries) == 1)
        assert "not public" in (office.views()[0].tries[0].error or "")
        assert trap.connections == 0
        worker.stop()
        office.work(reach=Reach(), urls=(Secret(trap.url),))
        office.now += 1000
        until(lambda: trap.connections == 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[Chat]\nkind = 'slack'\n{URL}", "lower-case"),
        ("[chat]\nkind = 'irc'\n{URL}", "chat.kind"),
        ("[chat]\nkind = 'slack'", "either url or url_file"),
        (
            "[chat]\nkind = 'slack'\nurl = 'https://u:p4ss@x.example.org/'",
            "webhook's URL",
        ),
        ("[chat]\nkind = 'slack'\nurl_file = '/nowhere/url'", "No such file"),
        ("[lab]\nkind = 'gitlab'\n{URL}", "needs either token"),
        (
            "[chat]\nkind = 'slack'\n{URL}\ntoken = 's3cret'",
            "token and api",
        ),
        ("[hook]\nkind = 'webhook'\n{URL}\nchannel = '#a'", "channel"),
        (
            "[chat]\nkind = 'slack'\n{URL}\nevents = ['over']",
            "chat.events",
        ),
        ("[chat]\nkind = 'slack'\n{URL}\nchanel = '#a'", "chat.chanel"),
        ("chat = 1", "chat"),
        ("[chat", "cannot be read"),
    ],
)
def test_a_faulty_file_is_refused_and_says_where(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "notify.toml"
    file.write_text(text.replace("{URL}", "url = 'https://x.example.org/'"))
    with pytest.raises(ConfigError, match=words) as refusal:
        notify.load(file)
    assert "s3cret" not in str(refusal.value)
    assert "p4ss" not in str(refusal.value)


def test_many_messages_to_receivers_that_fail_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make notifications` sends 10,000."""
    monkeypatch.setattr(module, "_POLL", 0.02)
    found = many.run(100, 0.3, 7, tmp_path)
    assert found.fine, found
    assert found.twice > 0
