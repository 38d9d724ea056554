"""Pushes of forges: who may send them, which builds they make, and what they may not do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api import create_app
from api.hooks import events
from builder_framework.audit import Entry, Query
from builder_framework.domain.hooks import App, Cloning, Forge, Hooks
from builder_framework.domain.model import BuildRequest
from builder_framework.domain.targets import Kind
from builder_framework.domain.triggers import Rule
from builder_framework.errors import ConfigError, ForgeError
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from builder_framework.users import SingleUser
from tests.unit.builds_double import PASSWORD, USER, MemoryBuilds
from tests.unit.forges import COMMIT, NOWHERE, SECRET, gitlab, hub, sent, signed

IMAGE = "registry.example.org/shop/web"
LAB = Forge(
    "lab", Kind.GITLAB, "https://gitlab.example.org", (Secret("x" * 16), Secret(SECRET)), USER
)
HUB = Forge("hub", Kind.GITHUB, "https://github.example.org", (Secret(SECRET),), USER)
TEA = Forge("tea", Kind.GITEA, "https://github.example.org/tea", (Secret(SECRET),), USER)
RULE = Rule((f"{IMAGE}:{{branch}}",), branches=("main", "feature/*"), repositories=("shop/*",))
RELEASE = Rule((f"{IMAGE}:{{version}}",), tags=("v*",), repositories=("shop/*",))
FILE = """\
version: 1
builds:
  - branches: [main]
    images: ["registry.example.org/shop/web:{short}"]
    dockerfile: build/Dockerfile
    git: {submodules: true}
"""
EVENTS = {"lab": ("gitlab", gitlab), "hub": ("github", hub), "tea": ("gitea", hub)}


class Trail:
    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def record(self, entry: Entry) -> None:
        self.entries.append(entry)

    def page(self, query: Query) -> tuple[list[Entry], int | None]:
        del query
        return self.entries, None


class Files:
    """Files of repositories, and who asked for them."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.failure: ForgeError | None = None
        self.asked: list[tuple[str, str, str, str]] = []

    def __call__(self, forge: Forge, repository: str, path: str, commit: str) -> str | None:
        self.asked.append((forge.name, repository, path, commit))
        if self.failure is not None:
            raise self.failure
        return self.text


@pytest.fixture
def builds() -> MemoryBuilds:
    return MemoryBuilds()


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def trail() -> Trail:
    return Trail()


@pytest.fixture
def hooks() -> Hooks:
    return Hooks({each.name: each for each in (LAB, HUB, TEA)}, rules=(RULE, RELEASE))


@pytest.fixture
def app(builds: MemoryBuilds, hooks: Hooks, files: Files, trail: Trail) -> Flask:
    return make(builds, hooks, files, trail)


def make(
    builds: MemoryBuilds, hooks: Hooks, files: Files | None = None, trail: Trail | None = None
) -> Flask:
    people = People(SingleUser(USER, Secret(PASSWORD)))
    return create_app(
        builds,
        people,
        RequestPolicy(),
        hooks=hooks,
        read_file=files or Files(),
        page="https://builder.example.org/",
        trail=trail or Trail(),
    )


@pytest.fixture
def http(app: Flask) -> FlaskClient:
    return app.test_client()


def post(http: FlaskClient, name: str, event: dict[str, Any], **headers: str) -> TestResponse:
    kind, _ = EVENTS[name]
    return http.post(f"/hooks/{name}", **sent(kind, event, **headers))


def made(builds: MemoryBuilds) -> list[BuildRequest]:
    return [build.request for build in builds.builds.values()]


def why(answer: TestResponse) -> str:
    """Nothing was built, for this reason."""
    assert answer.status_code == 200, answer.text
    told = answer.get_json()
    assert told["builds"] == []
    return str(told["message"])


@pytest.mark.parametrize("name", EVENTS)
def test_a_push_makes_a_build_of_its_commit(
    http: FlaskClient, builds: MemoryBuilds, trail: Trail, name: str
) -> None:
    answer = post(http, name, EVENTS[name][1]("refs/heads/feature/x"))
    assert answer.status_code == 202
    (build,) = builds.builds.values()
    assert answer.get_json() == {
        "builds": [
            {
                "id": build.id,
                "images": [f"{IMAGE}:feature-x"],
                "url": f"https://builder.example.org/ui/builds/{build.id}",
            }
        ]
    }
    assert build.owner == USER
    git = build.request.source.git
    assert git is not None
    host = "gitlab" if name == "lab" else "github"
    assert (git.url, git.ref) == (f"https://{host}.example.org/shop/web.git", COMMIT)
    assert build.request.labels == {
        "forge": name,
        "repository": "shop/web",
        "branch": "feature/x",
        "pushed-by": "jsmith",
    }
    assert build.request.output.labels == {"org.opencontainers.image.ref.name": "feature/x"}
    (entry,) = trail.entries
    assert (entry.action, entry.user, entry.subject, entry.status) == (
        "hook.receive",
        USER,
        build.id,
        202,
    )


@pytest.mark.parametrize("name", EVENTS)
def test_a_tag_is_built_at_the_commit_that_it_names(
    http: FlaskClient, builds: MemoryBuilds, name: str
) -> None:
    """Of an annotated tag the event's `after` is the tag's own id, which nobody can check out."""
    headers = {"X_Gitlab_Event": "Tag Push Hook"} if name == "lab" else {}
    answer = post(http, name, EVENTS[name][1]("refs/tags/v1.2.0"), **headers)
    assert answer.status_code == 202
    (request,) = made(builds)
    assert request.images == (f"{IMAGE}:1.2.0",)
    assert request.source.ref == COMMIT
    assert request.labels["tag"] == "v1.2.0"


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_that_comes_again_makes_no_second_build(
    http: FlaskClient, builds: MemoryBuilds, name: str
) -> None:
    event = EVENTS[name][1]()
    first = post(http, name, event).get_json()
    assert post(http, name, event).get_json() == first
    assert len(builds.builds) == 1


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("lab", "Idempotency_Key"),
        ("lab", "X_Gitlab_Event_UUID"),
        ("hub", "X_GitHub_Delivery"),
        ("tea", "X_Gitea_Delivery"),
        ("tea", "X_Forgejo_Delivery"),
    ],
)
def test_two_events_are_told_apart_by_their_ids(
    http: FlaskClient, builds: MemoryBuilds, name: str, header: str
) -> None:
    """A branch may go to a commit, away from it, and back to it."""
    event = EVENTS[name][1]()
    for event_id in ("1", "2", "2"):
        assert post(http, name, event, **{header: event_id}).status_code == 202
    assert len(builds.builds) == 2
    long = {header: "x" * 1000}
    assert post(http, name, event, **long).get_json() == post(http, name, event, **long).get_json()


PROOFS = ("none", "wrong", "empty", "not_ascii")


@pytest.mark.parametrize(
    ("name", "proof"),
    # GitLab's token is no signature: it says nothing of the body.
    [(name, proof) for name in EVENTS for proof in PROOFS]
    + [("hub", "of_another_body"), ("tea", "of_another_body")],
)
def test_who_does_not_know_the_secret_makes_nothing(
    http: FlaskClient, builds: MemoryBuilds, name: str, proof: str
) -> None:
    kind, event = EVENTS[name]
    told = sent(kind, event())
    header = {"lab": "X-Gitlab-Token", "hub": "X-Hub-Signature-256", "tea": "X-Gitea-Signature"}[
        name
    ]
    if proof == "of_another_body":
        told["data"] += b" "
    else:
        given = {"none": None, "wrong": "0" * 64, "empty": "", "not_ascii": "sécret"}[proof]
        del told["headers"][header]
        if given is not None:
            told["headers"][header] = given
    answer = http.post(f"/hooks/{name}", **told)
    assert (answer.status_code, answer.get_json()["code"]) == (401, "wrong_secret")
    assert builds.builds == {}
    assert SECRET not in answer.text


def test_another_forges_secret_opens_nothing(builds: MemoryBuilds, hooks: Hooks) -> None:
    other = replace(HUB, secrets=(Secret("another-secret-0123"),))
    http = make(builds, replace(hooks, forges={**hooks.forges, "hub": other})).test_client()
    assert post(http, "hub", hub()).status_code == 401


def test_there_is_no_other_hook_and_none_without_a_file(
    http: FlaskClient, builds: MemoryBuilds
) -> None:
    assert http.post("/hooks/nobody", **sent("github", hub())).status_code == 404
    without = create_app(builds, People(SingleUser(USER, Secret(PASSWORD))), RequestPolicy())
    answer = without.test_client().post("/hooks/hub", **sent("github", hub()))
    assert answer.status_code in (401, 404)


@pytest.mark.parametrize(
    ("name", "event", "headers", "words"),
    [
        ("hub", {"zen": "Keep it simple"}, {"X_GitHub_Event": "ping"}, "ping is not a push"),
        ("lab", {}, {"X_Gitlab_Event": "Merge Request Hook"}, "Merge Request Hook is not a push"),
        ("tea", {}, {"X_Gitea_Event": "create"}, "create is not a push"),
        ("hub", hub("refs/notes/x"), {}, "neither a branch nor a tag"),
        ("lab", gitlab("refs/notes/x"), {}, "neither a branch nor a tag"),
        ("lab", gitlab(checkout_sha=None), {}, "branch main was deleted"),
        ("hub", hub(deleted=True, after=NOWHERE, head_commit=None), {}, "branch main was deleted"),
        ("tea", hub(after=NOWHERE, head_commit=None), {}, "branch main was deleted"),
        ("hub", hub("refs/heads/other"), {}, "no rule is about branch other of shop/web"),
        ("hub", hub("refs/tags/1"), {}, "no rule is about tag 1 of shop/web"),
        (
            "hub",
            hub(head_commit={"id": COMMIT, "message": "x [skip ci]"}),
            {},
            "the commit's message says so",
        ),
        (
            "lab",
            gitlab(commits=[{"id": COMMIT, "message": "x\n\n[ci skip]"}]),
            {},
            "the commit's message says so",
        ),
    ],
)
def test_what_makes_no_build_says_why(
    http: FlaskClient,
    builds: MemoryBuilds,
    trail: Trail,
    name: str,
    event: dict[str, Any],
    headers: dict[str, str],
    words: str,
) -> None:
    assert why(post(http, name, event, **headers)) == f"nothing to build: {words}"
    assert builds.builds == {}


def test_only_repositories_that_are_listened_to(builds: MemoryBuilds, hooks: Hooks) -> None:
    deaf = replace(HUB, repositories=("lab/*",))
    http = make(builds, replace(hooks, forges={"hub": deaf})).test_client()
    assert "none of the repositories" in why(post(http, "hub", hub()))


@pytest.mark.parametrize(
    ("name", "event", "field"),
    [
        ("hub", {"after": COMMIT, "repository": hub()["repository"]}, "ref"),
        ("hub", hub(repository={"full_name": "a/b"}), "repository.clone_url"),
        ("hub", {**hub(), "ref": 7}, "ref"),
        ("hub", hub(head_commit={"id": "HEAD"}), "commit"),
        ("hub", hub("refs/heads/"), "ref"),
        ("hub", hub("refs/heads/a\nb"), "ref"),
        ("lab", gitlab(checkout_sha="../x"), "commit"),
        ("lab", {**gitlab(), "project": None}, "project"),
        ("lab", gitlab("refs/heads/" + "x" * 3000), "ref"),
    ],
)
def test_an_event_that_is_none_names_the_field(
    http: FlaskClient, builds: MemoryBuilds, name: str, event: dict[str, Any], field: str
) -> None:
    answer = post(http, name, event)
    assert answer.status_code == 400
    assert [one["field"] for one in answer.get_json()["errors"]] == [field]
    assert builds.builds == {}


@pytest.mark.parametrize("body", [b"payload=%7B%7D", b"[" * 100_000, b"\xff", b"[]", b"null"])
def test_what_is_no_event_at_all(http: FlaskClient, body: bytes) -> None:
    assert http.post("/hooks/hub", data=body, headers=signed("github", body)).status_code == 400


def test_a_push_of_many_commits_is_read_and_an_endless_one_is_not(
    http: FlaskClient, builds: MemoryBuilds
) -> None:
    """2048 commits with their files, far beyond what other requests may have."""
    commits = [{"id": COMMIT, "message": "m" * 500, "modified": ["f" * 100] * 8}] * 2048
    assert post(http, "hub", hub(commits=commits)).status_code == 202
    body = b"x" * (events.MAX_BODY + 1)
    assert http.post("/hooks/hub", data=body).status_code == 413


def test_a_login_goes_to_its_forge_alone(builds: MemoryBuilds) -> None:
    forge = replace(HUB, cloning=Cloning(username="bot", password=Secret("t0ken")))
    http = make(builds, Hooks({"hub": forge}, rules=(RULE,))).test_client()
    event = hub()
    event["repository"]["clone_url"] = "https://evil.example.org/shop/web.git"
    answer = post(http, "hub", event)
    assert answer.status_code == 400
    assert "is cloned elsewhere" in answer.text
    assert builds.builds == {}
    assert post(http, "hub", hub()).status_code == 202
    git = made(builds)[0].source.git
    assert git is not None
    assert (git.username, git.password and git.password.reveal()) == ("bot", "t0ken")


def test_cloning_by_ssh(builds: MemoryBuilds) -> None:
    forge = replace(
        HUB, cloning=Cloning(ssh=True, known_hosts="github.example.org ssh-ed25519 AAAA\n")
    )
    http = make(builds, Hooks({"hub": forge}, rules=(RULE,))).test_client()
    assert post(http, "hub", hub()).status_code == 202
    git = made(builds)[0].source.git
    assert git is not None
    assert git.url == "git@github.example.org:shop/web.git"
    assert git.known_hosts == "github.example.org ssh-ed25519 AAAA\n"


def test_a_rule_may_say_all_that_a_request_may(builds: MemoryBuilds) -> None:
    rule = replace(
        RULE,
        build={
            "target": "prod",
            "labels": {"team": "web", "forge": "forged"},
            "image_labels": {"a": "b"},
            "supersede": "queued",
            "git": {"submodules": True, "depth": 0},
            "registry_auth": {"username": "ci", "password": "of-the-registry"},
        },
    )
    http = make(builds, Hooks({"hub": HUB}, rules=(rule,))).test_client()
    assert post(http, "hub", hub()).status_code == 202
    (request,) = made(builds)
    git = request.source.git
    assert git is not None
    assert (request.recipe.target, git.submodules, git.depth) == ("prod", True, 0)
    assert (request.labels["team"], request.labels["forge"]) == ("web", "hub")
    assert request.output.labels["a"] == "b"
    assert request.group == f"hub shop/web branch main {IMAGE}"


def test_a_forge_may_say_for_all_its_builds_what_a_rule_may_say_otherwise(
    builds: MemoryBuilds, files: Files
) -> None:
    login = {"username": "ci", "password": "of-the-registry"}
    more = {"registry_auth": login, "target": "dev", "git": {"lfs": True, "depth": 3}}
    rule = replace(RULE, build={"target": "prod", "git": {"depth": 0}})
    files.text = FILE
    forge = replace(OWN, build=more)
    for rules in ((rule,), ()):
        http = make(builds, Hooks({"hub": forge}, rules=rules), files).test_client()
        assert post(http, "hub", hub()).status_code == 202
    by_rule, by_file = made(builds)
    assert by_rule.source.git is not None
    assert (by_rule.recipe.target, by_rule.source.git.lfs, by_rule.source.git.depth) == (
        "prod",
        True,
        0,
    )
    assert by_file.source.git is not None
    assert (by_file.recipe.target, by_file.source.git.submodules) == ("dev", True)
    assert by_file.registry_auth is not None
    assert by_file.registry_auth.password.reveal() == "of-the-registry"


def test_two_branches_are_two_groups_and_two_pushes_to_one_are_one(builds: MemoryBuilds) -> None:
    rule = replace(RULE, build={"supersede": "queued"})
    http = make(builds, Hooks({"hub": HUB}, rules=(rule,))).test_client()
    for number, branch in enumerate(("main", "feature/x", "main"), start=1):
        commit = {"id": str(number) * 40, "message": ""}
        assert post(http, "hub", hub(f"refs/heads/{branch}", head_commit=commit)).status_code == 202
    first, second, third = (request.group for request in made(builds))
    assert first == third != second
    long = replace(rule, branches=("**",))
    http = make(builds, Hooks({"hub": HUB}, rules=(long,))).test_client()
    assert post(http, "hub", hub("refs/heads/" + "y" * 240)).status_code == 202


def test_one_that_is_refused_is_no_builds_at_all(builds: MemoryBuilds) -> None:
    """The other rule's would otherwise be there, and again with every repeated event."""
    bad = Rule(("registry.example.org/{1}:x",), branches=("/(.*)/",))
    http = make(builds, Hooks({"hub": HUB}, rules=(RULE, bad))).test_client()
    answer = post(http, "hub", hub("refs/heads/feature/UP"))
    assert answer.status_code == 400
    assert answer.get_json()["errors"][0]["field"] == "images.0"
    assert builds.builds == {}


def test_a_user_who_is_none_builds_nothing(builds: MemoryBuilds) -> None:
    http = make(builds, Hooks({"hub": replace(HUB, user="gone")}, rules=(RULE,))).test_client()
    answer = post(http, "hub", hub())
    assert (answer.status_code, answer.get_json()["code"]) == (403, "no_such_user")
    assert builds.builds == {}


def test_a_store_that_is_away_asks_to_come_again(http: FlaskClient, builds: MemoryBuilds) -> None:
    builds.store_fails()
    answer = post(http, "hub", hub())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    builds.failure = None
    assert post(http, "hub", hub()).status_code == 202


# -- rules of repositories -------------------------------------------------------------------------

OWN = replace(
    HUB, files=True, file_images=("registry.example.org/{repository}",), token=Secret("t0ken")
)


@pytest.fixture
def own(builds: MemoryBuilds, files: Files) -> FlaskClient:
    files.text = FILE
    return make(builds, Hooks({"hub": OWN}), files).test_client()


def test_a_repository_brings_its_own_rules(
    own: FlaskClient, builds: MemoryBuilds, files: Files
) -> None:
    assert post(own, "hub", hub()).status_code == 202
    assert files.asked == [("hub", "shop/web", ".builder.yml", COMMIT)]
    (request,) = made(builds)
    assert request.images == (f"{IMAGE}:{COMMIT[:8]}",)
    assert request.recipe.dockerfile == "build/Dockerfile"
    assert request.source.git is not None
    assert request.source.git.submodules


def test_the_operators_rules_go_before_those_of_the_repository(
    builds: MemoryBuilds, files: Files
) -> None:
    files.text = FILE
    http = make(builds, Hooks({"hub": OWN}, rules=(RULE,)), files).test_client()
    assert post(http, "hub", hub()).status_code == 202
    assert made(builds)[0].images == (f"{IMAGE}:main",)
    assert files.asked == []


def test_repositories_are_not_asked_unless_the_operator_says_so(
    builds: MemoryBuilds, files: Files
) -> None:
    files.text = FILE
    http = make(builds, Hooks({"hub": HUB}), files).test_client()
    assert "no rule" in why(post(http, "hub", hub()))
    assert files.asked == []


def test_a_repository_without_a_file(own: FlaskClient, files: Files) -> None:
    files.text = None
    assert "no rule is about branch main" in why(post(own, "hub", hub()))


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        (("version: 1", "version: 2"), "version", "1"),
        (("version: 1\n", ""), "version", "is required"),
        (("branches: [main]\n    ", ""), "builds.0", "set branches or tags"),
        (("[main]", "main"), "builds.0.branches", "must be a list"),
        (("[main]", "[1.10]"), "builds.0.branches.0", "quote what looks like a number"),
        (("[main]", "[/(/]"), "builds.0.branches.0", "RE2"),
        (("{short}", "{nope}"), "builds.0.images.0", "no placeholder"),
        (
            ("dockerfile: build", "secrets: {a: b}\n    dockerfile: build"),
            "builds.0.secrets",
            "may",
        ),
        (("dockerfile: build", "webhooks: [x]\n    dockerfile: build"), "builds.0.webhooks", "may"),
        (("dockerfile: build", "engine: socket\n    dockerfile: build"), "builds.0.engine", "may"),
        (("submodules: true", "username: x"), "builds.0.git.username", "may"),
        (("{submodules: true}", "3"), "builds.0.git", "may"),
        (("builds:", "build:"), "builds", "is required"),
        ((FILE, "- a"), "", "must be a mapping"),
        ((FILE, "a: [*x]"), "", "aliases"),
        ((FILE, "version: 1\nversion: 1"), "", "there twice (line 2, column 1)"),
        ((FILE, "version: !!python/object:os.system 1"), "", "tag"),
        ((FILE, "[" * 5000), "", "not YAML"),
    ],
)
def test_a_file_that_is_wrong_names_the_place(
    own: FlaskClient,
    builds: MemoryBuilds,
    files: Files,
    change: tuple[str, str],
    field: str,
    words: str,
) -> None:
    files.text = FILE.replace(*change)
    answer = post(own, "hub", hub())
    assert answer.status_code == 400, answer.text
    place = f".builder.yml: {field}" if field else ".builder.yml"
    assert place in [one["field"] for one in answer.get_json()["errors"]]
    assert words in answer.text
    assert builds.builds == {}


def test_a_wrong_field_of_the_build_itself(own: FlaskClient, files: Files) -> None:
    files.text = FILE.replace("build/Dockerfile", "../Dockerfile")
    answer = post(own, "hub", hub())
    assert answer.get_json()["errors"][0]["field"] == "dockerfile"


@pytest.mark.parametrize(
    "image",
    [
        "registry.example.org/lab/web:1",
        "registry.example.org/shop/website:1",
        "registry.example.org/shop:1",
        "evil.example.org/shop/web:1",
        "shop/web:1",
        "UPPER:1",
    ],
)
def test_a_repository_pushes_to_its_own_images_alone(
    own: FlaskClient, builds: MemoryBuilds, files: Files, image: str
) -> None:
    files.text = FILE.replace("registry.example.org/shop/web:{short}", image)
    answer = post(own, "hub", hub())
    assert answer.status_code == 400
    assert answer.get_json()["errors"][0]["field"] == ".builder.yml: images.0"
    assert builds.builds == {}


def test_images_below_ones_own_and_fields_that_the_operator_adds(
    builds: MemoryBuilds, files: Files
) -> None:
    forge = replace(
        OWN, file_images=("registry.example.org/other/",), file_fields=frozenset({"priority"})
    )
    files.text = FILE.replace("shop/web:{short}", "other/x/y:1").replace(
        "dockerfile: build", "priority: 3\n    dockerfile: build"
    )
    http = make(builds, Hooks({"hub": forge}), files).test_client()
    assert post(http, "hub", hub()).status_code == 202
    assert made(builds)[0].priority == 3


@pytest.mark.parametrize(("passing", "status"), [(True, 502), (False, 400)])
def test_a_file_that_cannot_be_had_is_told_to_the_forge(
    own: FlaskClient, builds: MemoryBuilds, files: Files, passing: bool, status: int
) -> None:
    files.failure = ForgeError("hub answers 500", passing=passing)
    answer = post(own, "hub", hub())
    assert answer.status_code == status
    assert "hub answers 500; nothing was built" in answer.text
    assert builds.builds == {}


# -- the file is looked at when the process starts -------------------------------------------------


@pytest.mark.parametrize(
    ("hooks", "field"),
    [
        (
            Hooks({"hub": HUB}, rules=(replace(RULE, build={"dockerfil": "x"}),)),
            "rules.0.build.dockerfil",
        ),
        (Hooks({"hub": HUB}, rules=(replace(RULE, build={"source": {}}),)), "rules.0.build.source"),
        (Hooks({"hub": HUB}, rules=(replace(RULE, images=("UPPER/x:1",)),)), "rules.0.images.0"),
        (Hooks({"hub": HUB}, rules=(replace(RULE, build={"git": {"depth": -1}}),)), "rules.0.git"),
        (Hooks({"hub": HUB}, rules=(replace(RULE, build={"labels": 3}),)), "rules.0.build.labels"),
        (Hooks({"hub": HUB}, rules=(replace(RULE, build={"git": 3}),)), "rules.0.git"),
        (Hooks(rules=(RULE,)), "rules.0"),
        (Hooks({"hub": replace(HUB, build={"mem": 1})}), "forges.hub.build.mem"),
        (Hooks({"hub": replace(HUB, build={"images": []})}), "forges.hub.build.images"),
        (Hooks(apps={"web": App("nowhere", (f"{IMAGE}:1",))}), "apps.web.repository"),
        (Hooks(apps={"web": App("https://g.example.org/a", ("-",))}), "apps.web.images.0"),
        (
            Hooks(
                apps={"web": App("https://g.example.org/a", (f"{IMAGE}:1",), build={"images": []})}
            ),
            "apps.web.build.images",
        ),
    ],
)
def test_rules_that_could_make_no_request_are_told_at_the_start(
    builds: MemoryBuilds, hooks: Hooks, field: str
) -> None:
    with pytest.raises(ConfigError) as told:
        make(builds, hooks)
    assert [one.field for one in told.value.problems] == [field]


def test_a_page_of_another_site_cannot_send_events(http: FlaskClient) -> None:
    told = sent("github", hub())
    told["headers"]["Origin"] = "https://evil.example.org"
    assert http.post("/hooks/hub", **told).status_code == 403


def test_the_answer_of_a_hook_is_json(http: FlaskClient) -> None:
    answer = post(http, "hub", hub())
    assert answer.mimetype == "application/json"
    assert json.loads(answer.text)["builds"]
