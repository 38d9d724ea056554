"""Orders from Rocket.Chat: who may give them, what they do, and what is answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import argon2
import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import create_app
from builder_framework.domain import events as ev
from builder_framework.domain.access import Role
from builder_framework.domain.hooks import App, Hooks, Room
from builder_framework.domain.model import BuildRequest
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.protocol import Phase, Reason, Report
from builder_framework.redact import Secret
from builder_framework.users import UserFile
from tests.unit.builds_double import MemoryBuilds

TOKEN = "of-rocket-chat-0123456789"
IMAGE = "registry.example.org/web"
URL = "https://git.example.org/web.git"
APPS = {
    "web": App(URL, (f"{IMAGE}:{{ref}}",), "main", {"labels": {"team": "shop"}}),
    "lab": App("https://git.example.org/lab.git", ("registry.example.org/lab:{ref}",)),
}
ROOM = Room("chat", (Secret("x" * 16), Secret(TOKEN)), {"ann.chat": "ann", "vic": "vic"})


@pytest.fixture
def users(tmp_path: Path) -> UserFile:
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    file = UserFile(tmp_path / "users", hasher=hasher)
    for name, role in (
        ("ann", Role.BUILDER),
        ("bob", Role.BUILDER),
        ("vic", Role.VIEWER),
        ("nobody", Role.NONE),
        ("ops", Role.OPERATOR),
    ):
        file.add(name, Secret("a password: ü"), role)
    return file


def make(builds: MemoryBuilds, users: UserFile, room: Room = ROOM) -> FlaskClient:
    app: Flask = create_app(
        builds,
        People(users),
        RequestPolicy(),
        hooks=Hooks(rooms={"chat": room}, apps=APPS),
        page="https://builder.example.org",
    )
    return app.test_client()


@pytest.fixture
def builds() -> MemoryBuilds:
    return MemoryBuilds()


@pytest.fixture
def http(builds: MemoryBuilds, users: UserFile) -> FlaskClient:
    return make(builds, users)


def message(text: str, **others: Any) -> dict[str, Any]:
    """As Rocket.Chat sends it."""
    return {
        "token": TOKEN,
        "bot": False,
        "channel_id": "GENERAL",
        "channel_name": "builds",
        "message_id": "m1",
        "timestamp": "2026-01-02T03:04:05.678Z",
        "user_id": "u1",
        "user_name": "ann.chat",
        "text": text,
        "siteUrl": "https://chat.example.org",
        "trigger_word": "!builder",
        **others,
    }


def say(http: FlaskClient, text: str, **others: Any) -> str:
    """What is answered in the channel, markup made readable."""
    answer = http.post("/hooks/chat", json=message(text, **others))
    assert answer.status_code == 200, answer.text
    return str(answer.get_json()["text"]).replace("\u2060", "")


def only(builds: MemoryBuilds) -> str:
    (build_id,) = builds.builds
    return build_id


def page(build_id: str) -> str:
    return f"[{build_id}](https://builder.example.org/ui/builds/{build_id})"


@pytest.mark.parametrize(
    ("text", "ref", "image"),
    [
        ("!builder build web", "main", f"{IMAGE}:main"),
        ("!builder build web feature/x", "feature/x", f"{IMAGE}:feature-x"),
        ("!BUILDER  Build  WEB   v1.2", "v1.2", f"{IMAGE}:v1.2"),
        ("build web v1", "v1", f"{IMAGE}:v1"),
        ("!builder build lab", None, "registry.example.org/lab:latest"),
    ],
)
def test_a_build_by_chat(
    http: FlaskClient, builds: MemoryBuilds, text: str, ref: str | None, image: str
) -> None:
    answer = say(http, text)
    build = builds.builds[only(builds)]
    assert answer == f"{page(build.id)} {image} is number 1 of the queue"
    assert (build.owner, build.request.source.ref) == ("ann", ref)
    assert build.request.images == (image,)
    assert build.request.labels["asked-by"] == "ann.chat"
    assert build.request.labels.get("team") == (None if "lab" in text else "shop")


def test_a_command_as_the_trigger_word_is_the_command(
    http: FlaskClient, builds: MemoryBuilds
) -> None:
    assert "is number 1" in say(http, "build web", trigger_word="build")
    assert "is number 1" in say(http, "build web", trigger_word=None)


def test_a_message_that_comes_again_makes_no_second_build(
    http: FlaskClient, builds: MemoryBuilds
) -> None:
    """Rocket.Chat tries again when an answer does not come in time."""
    assert say(http, "!builder build web") == say(http, "!builder build web")
    assert len(builds.builds) == 1
    say(http, "!builder build web", message_id="m2")
    say(http, "!builder build web", message_id="")
    say(http, "!builder build web", message_id="")
    assert len(builds.builds) == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("!builder", "`build APP [REF]`"),
        ("!builder help", "`build APP [REF]`"),
        ("!builder dance", "`build APP [REF]`"),
        ("", "`build APP [REF]`"),
        ("!builder build", "Say `build APP [REF]`. Apps: lab, web."),
        ("!builder build a b c", "Say `build APP [REF]`"),
        ("!builder build *nope*", "I know no app *nope*. Apps: lab, web."),
        ("!builder build web --upload-pack=x", "must not begin with '-'"),
        ("!builder build web a..b", "git expression"),
        ("!builder status nope", "'nope' is neither a build nor an app. Apps: lab, web."),
        ("!builder logs", "Say `logs BUILD`."),
        ("!builder cancel", "Say `cancel BUILD`."),
        ("!builder cancel 0123456789abcdef", "there is no build '0123456789abcdef'"),
        ("!builder status web", "There is no build of web yet."),
        ("!builder status", "Nothing is being built, and nothing waits."),
    ],
)
def test_what_cannot_be_done_is_said(
    http: FlaskClient, builds: MemoryBuilds, text: str, words: str
) -> None:
    assert words in say(http, text)
    assert builds.builds == {}


def test_what_people_wrote_is_no_markup_in_the_answer(http: FlaskClient) -> None:
    answer = http.post("/hooks/chat", json=message("!builder build *@all*")).get_json()["text"]
    assert "*\u2060@\u2060all*\u2060" in answer


def test_how_a_build_is(http: FlaskClient, builds: MemoryBuilds) -> None:
    say(http, "!builder build web")
    build_id = only(builds)
    builds.place(build_id)
    assert say(http, f"!builder status {build_id}").endswith(" is starting")
    builds.apply(build_id, ev.TaskProgressed(1, Report(Phase.BUILDING)))
    assert say(http, "!builder status web").endswith(f"{IMAGE}:main is building")
    assert say(http, "!builder status") == say(http, "!builder status web")
    builds.apply(build_id, ev.TaskFailed(1, Reason.STEP_FAILED, "RUN make: 2"))
    told = say(http, f"!builder status {build_id}")
    assert " failed after " in told
    assert told.endswith(": RUN make: 2")
    assert say(http, "!builder status").startswith("Nothing")


def test_only_some_of_many(http: FlaskClient, builds: MemoryBuilds) -> None:
    for number in range(12):
        say(http, "!builder build web", message_id=f"m{number}")
    lines = say(http, "!builder status").splitlines()
    assert len(lines) == 11
    assert lines[-1] == "… and more"


def test_the_end_of_a_log_without_its_secrets(
    builds: MemoryBuilds, users: UserFile, http: FlaskClient
) -> None:
    say(http, "!builder build web")
    build_id = only(builds)
    request: BuildRequest = builds.builds[build_id].request
    recipe = replace(request.recipe, secrets={"token": Secret("canary-of-chat")})
    builds.set(build_id, request=replace(request, recipe=recipe))
    builds.place(build_id)
    assert say(http, f"!builder logs {build_id}").endswith("(no log yet)")
    builds.write(build_id, b"first\n\x1b[31mred\x1b[0m\n```\n@all canary-of-chat\n")
    told = say(http, f"!builder log {build_id}")
    first, *block = told.splitlines()
    assert first.endswith("is starting")
    assert block == ["```", "first", "red", "```", "@all ***", "```"]
    raw = http.post("/hooks/chat", json=message(f"!builder logs {build_id}")).get_json()["text"]
    assert raw.count("```") == 2, "the log cannot leave its block"
    builds.write(build_id, b"z" * 100_000)
    assert len(say(http, f"!builder logs {build_id}")) <= 4000


def test_a_build_is_cancelled_by_its_owner_alone(
    http: FlaskClient, builds: MemoryBuilds, users: UserFile
) -> None:
    say(http, "!builder build web")
    build_id = only(builds)
    other = make(builds, users, replace(ROOM, user="bob"))
    assert say(other, f"!builder cancel {build_id}", user_name="x") == (
        f"you may not do that with build {build_id}"
    )
    assert " was cancelled after " in say(http, f"!builder cancel {build_id}")
    assert say(http, f"!builder cancel {build_id}") == "the build is over already"


@pytest.mark.parametrize(
    ("user", "text", "words"),
    [
        ("vic", "!builder build web", "you may not build outside of all projects"),
        ("nobody", "!builder status BUILD", "there is no build"),
        ("nobody", "!builder logs BUILD", "there is no build"),
        ("nobody", "!builder cancel BUILD", "there is no build"),
        ("vic", "!builder cancel BUILD", "you may not do that"),
        ("vic", "!builder status BUILD", "is number 1"),
        ("ops", "!builder cancel BUILD", "was cancelled"),
    ],
)
def test_each_may_what_his_role_allows(
    builds: MemoryBuilds, users: UserFile, http: FlaskClient, user: str, text: str, words: str
) -> None:
    say(http, "!builder build web")
    room = make(builds, users, replace(ROOM, user=user))
    assert words in say(room, text.replace("BUILD", only(builds)), user_name="x", message_id="2")


@pytest.mark.parametrize("name", ["stranger", "", "ann"])
def test_strangers_are_not_known(http: FlaskClient, builds: MemoryBuilds, name: str) -> None:
    """Nor is somebody who calls himself in the chat as a user here does."""
    assert say(http, "!builder build web", user_name=name).startswith("I do not know you")
    assert builds.builds == {}


def test_a_user_who_was_removed_gives_no_orders(
    http: FlaskClient, builds: MemoryBuilds, users: UserFile
) -> None:
    users.remove("ann")
    assert say(http, "!builder build web").startswith("I do not know you")
    assert builds.builds == {}


def test_only_in_its_channels(builds: MemoryBuilds, users: UserFile) -> None:
    http = make(builds, users, replace(ROOM, channels=frozenset({"builds"})))
    assert "in this channel" in say(http, "!builder build web", channel_name="general")
    assert "in this channel" in say(http, "!builder build web", channel_name=None)
    assert builds.builds == {}
    assert "is number 1" in say(http, "!builder build web")


@pytest.mark.parametrize("bot", [True, {"i": "x"}])
def test_bots_are_not_answered(http: FlaskClient, builds: MemoryBuilds, bot: object) -> None:
    answer = http.post("/hooks/chat", json=message("!builder build web", bot=bot))
    assert answer.get_json() == {}
    assert builds.builds == {}


@pytest.mark.parametrize("token", ["", "wrong", "x" * 15, None, "ünïcode", "\ud800"])
def test_who_has_not_the_token_is_not_heard(
    http: FlaskClient, builds: MemoryBuilds, token: str | None
) -> None:
    answer = http.post("/hooks/chat", json=message("!builder build web", token=token))
    assert answer.status_code in (400, 401)
    assert TOKEN not in answer.text
    assert builds.builds == {}


@pytest.mark.parametrize("body", [b"", b"[]", b"token=x", b"[" * 50_000, b"\xff", b'{"text": 3}'])
def test_what_is_no_message(http: FlaskClient, body: bytes) -> None:
    assert http.post("/hooks/chat", data=body).status_code == 400


def test_a_message_without_end_is_not_read(http: FlaskClient) -> None:
    assert http.post("/hooks/chat", json=message("x" * 70_000)).status_code == 413


def test_a_store_that_is_away_is_said(http: FlaskClient, builds: MemoryBuilds) -> None:
    builds.store_fails()
    assert say(http, "!builder build web").startswith("I cannot do that right now")
