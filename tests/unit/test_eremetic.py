"""Conformance with the API of Eremetic 0.30, a test for each row of its table in docs/eremetic.md.

Requests are made as its clients make them: without Content-Type, with fields that nobody knows.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import argon2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api import create_app, schemas
from api.eremetic import native
from builder_framework.domain import eremetic
from builder_framework.domain import events as ev
from builder_framework.domain.access import Role
from builder_framework.domain.model import Constraint, Resources
from builder_framework.people import People
from builder_framework.ports import Eremetic, Permission, RequestPolicy
from builder_framework.protocol import Outcome, Reason, Report
from builder_framework.redact import Secret
from builder_framework.users import SingleUser, UserFile
from tests.unit.builds_double import AUTH, BODY, PASSWORD, USER, MemoryBuilds

KEY = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
ENV = {"GIT_REPO": "https://git.example.org/app.git", "IMAGE_NAME": "registry.example.org/app:1"}
TASK: dict[str, Any] = {"cpu": 0.1, "mem": 22.0, "image": "tutum/builder", "env": ENV}
CALLBACK = "https://hooks.example.org/c4llback"
POLICY = RequestPolicy(webhook_hosts=("hooks.example.org",))
JSON = "application/json; charset=UTF-8"
PLAIN = "text/plain; charset=UTF-8"
NOBODY = "eremetic-task.79feb50d-3d36-47cf-98ff-a52ef2bc0eb5"

V1, V0 = "/api/v1/task", "/task"
both = pytest.mark.parametrize("base", [V1, V0])


class Memory:
    """`ports.Forgotten`."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    def forget(self, build_id: str) -> None:
        self.ids.add(build_id)

    def among(self, build_ids: Collection[str]) -> frozenset[str]:
        return frozenset(self.ids & set(build_ids))


def application(
    builds: MemoryBuilds,
    people: People,
    policy: RequestPolicy = POLICY,
    *,
    tasks: bool = False,
) -> Flask:
    asked = Eremetic(("tutum/builder", "registry.example.org/ci/builder"), Memory(), tasks)
    return create_app(builds, people, policy, eremetic=asked)


@pytest.fixture
def builds() -> MemoryBuilds:
    return MemoryBuilds()


@pytest.fixture
def http(builds: MemoryBuilds) -> FlaskClient:
    return application(builds, People(SingleUser(USER, Secret(PASSWORD)))).test_client()


def call(
    http: FlaskClient, method: str, path: str, body: Any = None, **options: Any
) -> TestResponse:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    options.setdefault("auth", AUTH)
    return http.open(path, method=method, data=data, **options)


def added(http: FlaskClient, base: str = V1, **fields: Any) -> str:
    """The id of a new task."""
    answer = call(http, "POST", base, {**TASK, **fields} if base == V1 else in_v0(fields))
    assert answer.status_code == 202, answer.text
    return str(json.loads(answer.data))


def in_v0(fields: dict[str, Any]) -> dict[str, Any]:
    names = {"cpu": "task_cpus", "mem": "task_mem", "image": "docker_image"}
    return {names.get(key, key): value for key, value in {**TASK, **fields}.items()}


def build_of(task: str) -> str:
    found = eremetic.build_of(task)
    assert found is not None
    return found


def request_of(builds: MemoryBuilds, task: str) -> Any:
    return builds.builds[build_of(task)].request


def ended(builds: MemoryBuilds, task: str) -> None:
    report = Report(outcome=Outcome.SUCCEEDED, digest="sha256:" + "a" * 64, commit="c" * 40)
    builds.place(build_of(task))
    builds.apply(build_of(task), ev.TaskSucceeded(1, report))


def shown(http: FlaskClient, task: str) -> Any:
    return json.loads(call(http, "GET", f"{V1}/{task}").data)


# -- POST /api/v1/task -----------------------------------------------------------------------------


@both
def test_post_answers_202_with_the_id_as_a_json_string(http: FlaskClient, base: str) -> None:
    body = TASK if base == V1 else in_v0({})
    answer = call(http, "POST", base, body, base_url="http://eremetic.example.org:8000")
    task = json.loads(answer.data)
    assert answer.status_code == 202
    assert answer.data == f'"{task}"\n'.encode()
    assert answer.headers["Content-Type"] == JSON
    assert answer.headers["Location"] == f"http://eremetic.example.org:8000{base}/{task}"


def test_post_location_has_the_protocol_that_the_proxy_tells(http: FlaskClient) -> None:
    answer = call(http, "POST", V1, TASK, headers={"X-Forwarded-Proto": "https"})
    assert answer.headers["Location"].startswith("https://localhost/api/v1/task/eremetic-task.")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"cpu": "much"}', b'{"env": {"A": 1}}', b'{"volumes": {}}']
)
def test_post_422_for_what_is_no_request(http: FlaskClient, body: bytes) -> None:
    answer = call(http, "POST", V1, body)
    assert answer.status_code == 422
    told = json.loads(answer.data)
    assert sorted(told) == ["error", "message"]
    assert told["message"] == "Unable to parse body into a valid request."
    assert answer.data.endswith(b"\n")
    assert answer.headers["Content-Type"] == JSON


def test_post_422_for_more_than_is_taken(http: FlaskClient) -> None:
    answer = call(http, "POST", V1, b"x" * (1024 * 1024 + 1))
    assert (answer.status_code, json.loads(answer.data)["message"]) == (
        422,
        "Unable to read payload.",
    )


def test_post_503_when_it_cannot_be_kept(http: FlaskClient, builds: MemoryBuilds) -> None:
    builds.store_fails()
    answer = call(http, "POST", V1, TASK)
    assert answer.status_code == 503
    assert json.loads(answer.data)["message"] == "Unable to schedule task"
    assert "dbpassword" not in answer.text


def test_post_500_in_the_same_form(http: FlaskClient, builds: MemoryBuilds) -> None:
    builds.failure = RuntimeError("a defect with a secret in it")
    answer = call(http, "POST", V1, TASK)
    assert (answer.status_code, json.loads(answer.data)) == (
        500,
        {"error": "something went wrong here", "message": "Unable to schedule task"},
    )


def test_post_ignores_unknown_fields_nulls_and_the_case_of_names(http: FlaskClient) -> None:
    task = added(http, unknown={"a": [1]}, volumes=None, Command="echo hi", ports=[{"x": 1}])
    assert shown(http, task)["command"] == "echo hi"
    assert shown(http, task)["volumes"] is None


# -- GET /api/v1/task ------------------------------------------------------------------------------


def listed(http: FlaskClient, query: str = "", base: str = V1) -> list[str]:
    answer = call(http, "GET", f"{base}{query}")
    assert answer.status_code == 200, answer.text
    return sorted(each["id"] for each in json.loads(answer.data))


@both
def test_list_is_an_empty_array_at_first(http: FlaskClient, base: str) -> None:
    answer = call(http, "GET", base)
    assert (answer.status_code, answer.data) == (200, b"[]\n")


@both
def test_list_by_state(http: FlaskClient, builds: MemoryBuilds, base: str) -> None:
    queued, active, over = added(http), added(http), added(http)
    builds.place(build_of(active))
    ended(builds, over)
    expected = {
        "": [queued, active],
        "?state=active,queued": [queued, active],
        "?state=queued": [queued],
        "?state=active": [active],
        "?state=terminated": [over],
        "?state=": [queued, active, over],
        "?state=nonsense": [],
    }
    for query, tasks in expected.items():
        assert listed(http, query, base) == sorted(tasks), query


def test_list_by_exact_name(http: FlaskClient) -> None:
    mine = added(http, name="my task")
    added(http, name="my task too")
    assert listed(http, "?name=my task") == [mine]


def test_list_has_tasks_only_and_all_of_them(http: FlaskClient, builds: MemoryBuilds) -> None:
    labelled = {**BODY, "labels": dict([native.LABEL])}
    for body in (BODY, labelled):
        builds.submit(schemas.parse_build(body, POLICY).to_request(POLICY), USER)
    tasks = [added(http) for _ in range(203)]
    assert listed(http) == sorted(tasks)


@pytest.mark.parametrize("query", ["?limit=1", "?state=active&x=1"])
def test_list_422_for_other_parameters(http: FlaskClient, query: str) -> None:
    answer = call(http, "GET", V1 + query)
    assert answer.status_code == 422
    assert json.loads(answer.data)["message"] == "Unable to parse query params"


# -- GET /api/v1/task/{id} -------------------------------------------------------------------------


KEYS = [
    "cpu",
    "mem",
    "command",
    "args",
    "user",
    "env",
    "masked_env",
    "labels",
    "image",
    "volumes",
    "volumes_from",
    "ports",
    "status",
    "id",
    "name",
    "network",
    "dns",
    "framework_id",
    "agent_id",
    "agent_constraints",
    "hostname",
    "retry",
    "callback_uri",
    "sandbox_path",
    "agent_ip",
    "agent_port",
    "force_pull_image",
    "privileged",
    "fetch",
]


def test_show_has_every_key_in_order_null_where_nothing_was_sent(http: FlaskClient) -> None:
    task = added(http, masked_env=ENV, env=None)
    found = shown(http, task)
    assert list(found)[: len(KEYS)] == KEYS
    nulls = {key for key in KEYS if found[key] is None}
    lists = {"args", "volumes", "volumes_from", "ports", "agent_constraints", "fetch"}
    assert nulls == {"env", "labels", *lists}
    empty = {"command": "", "network": "", "dns": "", "framework_id": "", "agent_id": ""}
    empty |= {"hostname": "", "callback_uri": "", "sandbox_path": "", "agent_ip": ""}
    for key, value in {**empty, "retry": 0, "agent_port": 0, "user": "root"}.items():
        assert found[key] == value, key
    assert found["masked_env"] == dict.fromkeys(ENV, "*******")
    assert found["name"].startswith("Eremetic task ")
    assert len(found["name"]) == len("Eremetic task ") + 8


def test_show_tells_again_what_was_asked(http: FlaskClient) -> None:
    asked: dict[str, Any] = {
        "command": "echo hi",
        "args": ["+%s"],
        "name": "my task",
        "network": "BRIDGE",
        "dns": "172.0.0.2",
        "labels": {"KEY": "value"},
        "volumes": [
            {"container_path": "/var/run/docker.sock", "host_path": "/var/run/docker.sock"}
        ],
        "volumes_from": ["name"],
        "ports": [{"container_port": 80, "host_port": 0, "protocol": "tcp"}],
        "fetch": [{"uri": "http://x/y", "executable": False, "extract": True, "cache": False}],
        "agent_constraints": [{"attribute_name": "role", "attribute_value": "build"}],
        "force_pull_image": True,
        "privileged": True,
    }
    found = shown(http, added(http, **asked))
    assert {key: found[key] for key in asked} == asked
    assert (found["env"], found["cpu"], found["mem"]) == (ENV, 0.1, 22.0)


def test_show_where_it_runs_and_what_came_of_it(http: FlaskClient, builds: MemoryBuilds) -> None:
    task = added(http)
    ended(builds, task)
    found = shown(http, task)
    assert (found["agent_ip"], found["agent_port"], found["hostname"]) == (
        "10.0.0.1",
        5051,
        "node-1",
    )
    assert found["sandbox_path"] == "/frameworks/framework-1/executors/executor-1/runs/latest"
    assert [each["status"] for each in found["status"]] == [
        "TASK_QUEUED",
        "TASK_STAGING",
        "TASK_RUNNING",
        "TASK_FINISHED",
    ]
    assert {type(each["time"]) for each in found["status"]} == {int}
    assert (found["digest"], found["commit"]) == ("sha256:" + "a" * 64, "c" * 40)
    assert found["build_id"] == build_of(task)


def test_show_counts_attempts_after_the_first(http: FlaskClient, builds: MemoryBuilds) -> None:
    task = added(http)
    builds.place(build_of(task))
    builds.apply(build_of(task), ev.TaskLost(1, Reason.AGENT_LOST, "away"))
    builds.place(build_of(task))
    assert shown(http, task)["retry"] == 1


@both
@pytest.mark.parametrize("task", [NOBODY, "x", "0123456789abcdef"])
def test_show_404_null(http: FlaskClient, base: str, task: str) -> None:
    answer = call(http, "GET", f"{base}/{task}")
    assert (answer.status_code, answer.data) == (404, b"null\n")
    assert answer.headers["Content-Type"] == JSON


def test_show_404_for_builds_that_are_no_tasks(http: FlaskClient, builds: MemoryBuilds) -> None:
    view, _ = builds.submit(schemas.parse_build(BODY, POLICY).to_request(POLICY), USER)
    answer = call(http, "GET", f"{V1}/{eremetic.task_name(view.build.id)}")
    assert (answer.status_code, answer.data) == (404, b"null\n")


# -- stdout and stderr -----------------------------------------------------------------------------


@both
def test_stdout_is_the_log(http: FlaskClient, builds: MemoryBuilds, base: str) -> None:
    task = added(http)
    builds.place(build_of(task))
    log = "Schritt 1: prüfen\n".encode() * 40_000
    builds.write(build_of(task), log)
    answer = call(http, "GET", f"{base}/{task}/stdout")
    assert (answer.status_code, answer.data == log) == (200, True)
    assert answer.headers["Content-Type"] == PLAIN
    error = call(http, "GET", f"{base}/{task}/stderr")
    assert (error.status_code, error.data, error.headers["Content-Type"]) == (200, b"", PLAIN)


@both
@pytest.mark.parametrize("file", ["stdout", "stderr"])
def test_logs_204_before_there_is_a_sandbox(http: FlaskClient, base: str, file: str) -> None:
    for task in (added(http), NOBODY):
        answer = call(http, "GET", f"{base}/{task}/{file}")
        assert (answer.status_code, answer.data) == (204, b"")


# -- kill ------------------------------------------------------------------------------------------


@both
def test_kill_202_and_terminating(http: FlaskClient, builds: MemoryBuilds, base: str) -> None:
    task = added(http)
    builds.place(build_of(task))
    answer = call(http, "POST", f"{base}/{task}/kill")
    assert (answer.status_code, answer.data) == (202, b'""\n')
    assert shown(http, task)["status"][-1]["status"] == "TASK_TERMINATING"
    builds.apply(build_of(task), ev.TaskKilled(1))
    assert shown(http, task)["status"][-1]["status"] == "TASK_KILLED"


@both
def test_kill_500_when_it_is_over_or_unknown(
    http: FlaskClient, builds: MemoryBuilds, base: str
) -> None:
    task = added(http)
    ended(builds, task)
    dead = call(http, "POST", f"{base}/{task}/kill")
    unknown = call(http, "POST", f"{base}/{NOBODY}/kill")
    assert (dead.status_code, unknown.status_code) == (500, 500)
    assert json.loads(dead.data) == "you can not kill that which is already dead"
    assert json.loads(unknown.data) == "unknown task"


# -- DELETE ----------------------------------------------------------------------------------------


@both
def test_delete_202_and_gone(http: FlaskClient, builds: MemoryBuilds, base: str) -> None:
    task = added(http)
    ended(builds, task)
    answer = call(http, "DELETE", f"{base}/{task}")
    assert (answer.status_code, answer.data) == (202, b'""\n')
    assert call(http, "GET", f"{base}/{task}").status_code == 404
    assert listed(http, "?state=") == []
    again = call(http, "DELETE", f"{base}/{task}")
    assert (again.status_code, json.loads(again.data)) == (404, "unknown task")
    # It was built, and that stays known.
    assert call(http, "GET", f"/api/v1/builds/{build_of(task)}").status_code == 200


def test_delete_ends_what_did_not_run_yet(http: FlaskClient, builds: MemoryBuilds) -> None:
    task = added(http)
    assert call(http, "DELETE", f"{V1}/{task}").status_code == 202
    assert builds.builds[build_of(task)].state.value == "CANCELLED"


@both
def test_delete_409_while_it_runs(http: FlaskClient, builds: MemoryBuilds, base: str) -> None:
    task = added(http)
    builds.place(build_of(task))
    answer = call(http, "DELETE", f"{base}/{task}")
    assert answer.status_code == 409
    assert json.loads(answer.data) == f"Cannot delete the task [{task}]. As it is still running."
    assert call(http, "GET", f"{base}/{task}").status_code == 200


# -- versions, slashes, the deprecated API ---------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/version", "/version"])
def test_version_is_a_quoted_string_for_everybody(http: FlaskClient, path: str) -> None:
    answer = http.get(path)
    assert (answer.status_code, answer.data) == (200, b'"0.30.0"\n')
    assert answer.headers["Content-Type"] == PLAIN
    assert ("Warning" in answer.headers) is (path == "/version")


def test_version_in_our_own_words_for_who_asks_for_json(http: FlaskClient) -> None:
    answer = http.get("/api/v1/version", headers={"Accept": "application/json, */*;q=0.5"})
    assert answer.json is not None
    assert answer.json["name"] == "builder-framework"


@both
def test_a_slash_at_the_end_leads_to_the_route(http: FlaskClient, base: str) -> None:
    answer = call(http, "GET", f"{base}/?state=queued")
    assert answer.status_code == 301
    assert answer.headers["Location"] == f"{base}?state=queued"
    assert call(http, "GET", f"{base}/{added(http)}/", follow_redirects=True).status_code == 200


def test_v0_has_its_own_names_and_a_warning(http: FlaskClient) -> None:
    constraints = [{"attribute_name": "role", "attribute_value": "build"}]
    uris = ["http://files.example.org/a.tgz", "http://files.example.org/b"]
    task = added(http, V0, slave_constraints=constraints, uris=uris)
    answer = call(http, "GET", f"{V0}/{task}")
    found = json.loads(answer.data)
    assert answer.headers["Warning"] == "299 - 'Deprecated API'"
    renamed = {
        "cpu": "task_cpus",
        "mem": "task_mem",
        "agent_id": "slave_id",
        "agent_constraints": "slave_constraints",
    }
    keys = [renamed.get(key, key) for key in KEYS if key != "volumes_from"]
    assert list(found)[: len(keys)] == keys
    assert found["slave_constraints"] == constraints
    assert [(each["uri"], each["extract"]) for each in found["fetch"]] == [
        (uris[0], True),
        (uris[1], False),
    ]
    assert "Warning" not in call(http, "GET", V1).headers


# -- who may ---------------------------------------------------------------------------------------


@both
def test_401_null(http: FlaskClient, base: str) -> None:
    answer = call(http, "GET", base, auth=("ann", "wrong"))
    assert (answer.status_code, answer.data) == (401, b"null\n")
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_without_the_switch_there_is_nothing(builds: MemoryBuilds) -> None:
    people = People(SingleUser(USER, Secret(PASSWORD)))
    http = create_app(builds, people, POLICY).test_client()
    for method, path in (("POST", V1), ("GET", V0), ("GET", "/version")):
        assert call(http, method, path, {}).status_code == 404
    assert http.get("/api/v1/version").is_json


def test_roles_hold_here_too(
    builds: MemoryBuilds, tmp_path_factory: pytest.TempPathFactory
) -> None:
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    users = UserFile(tmp_path_factory.mktemp("users") / "users", hasher=hasher)
    for role in Role:
        users.add(role.value, Secret(PASSWORD), role)
    users.add("other", Secret(PASSWORD), Role.BUILDER)
    http = application(builds, People(users)).test_client()

    def asked(role: str, method: str, path: str) -> int:
        body = TASK if (method, path) == ("POST", V1) else None
        return call(http, method, path, body, auth=(role, PASSWORD)).status_code

    task = json.loads(call(http, "POST", V1, TASK, auth=("builder", PASSWORD)).data)
    one = f"{V1}/{task}"
    assert [asked(who, "POST", V1) for who in ("none", "viewer", "builder")] == [403, 403, 202]
    assert [asked(who, "GET", one) for who in ("none", "viewer")] == [404, 200]
    assert [asked(who, "GET", f"{one}/stdout") for who in ("none", "viewer")] == [204, 204]
    for path, method in ((f"{one}/kill", "POST"), (one, "DELETE")):
        assert [asked(who, method, path) for who in ("viewer", "other")] == [403, 403]
    assert asked("none", "POST", f"{one}/kill") == 500  # "unknown task"
    assert asked("operator", "POST", f"{one}/kill") == 202


# -- tutum/builder ---------------------------------------------------------------------------------


def test_other_images_are_refused_with_the_reason(http: FlaskClient) -> None:
    for image in ("busybox", "", "tutum/builder2", "example.org/tutum/builder"):
        answer = call(http, "POST", V1, {**TASK, "image": image})
        assert answer.status_code == 422
        error = json.loads(answer.data)["error"]
        assert "image: only tasks of tutum/builder" in error
        assert "BUILDER_EREMETIC_TASKS" in error


@pytest.mark.parametrize(
    "image",
    ["tutum/builder:latest", "docker.io/tutum/builder", "registry.example.org/ci/builder:2"],
)
def test_any_tag_and_the_operators_own_images(http: FlaskClient, image: str) -> None:
    added(http, image=image)


def test_variables_become_the_build(http: FlaskClient, builds: MemoryBuilds) -> None:
    env = {
        "GIT_REPO": "ssh://git@git.example.org/app.git",
        "GIT_TAG": "v1",
        "IMAGE_NAME": "registry.example.org/app",
        "DOCKERFILE_PATH": "/images/web/",
        "GIT_CLONE_OPTS": "--recursive --depth 5 -q",
        "USERNAME": "ci",
    }
    masked = {"PASSWORD": "pw-canary", "GIT_ID_RSA": KEY.replace("\n", "\\n")}
    constraints = [{"attribute_name": "role", "attribute_value": "build"}]
    task = added(http, env=env, masked_env=masked, agent_constraints=constraints, cpu=3)
    asked = request_of(builds, task)
    git = asked.source.git
    assert (git.url, git.ref, git.submodules, git.depth) == (env["GIT_REPO"], "v1", True, 5)
    assert git.ssh_key == Secret(KEY)
    assert asked.images == ("registry.example.org/app:latest",)
    assert asked.recipe.context == "images/web"
    assert asked.registry_auth.password == Secret("pw-canary")
    assert asked.constraints == (Constraint("role", "EQUALS", "build"),)
    assert asked.resources == Resources(3.0, 2048.0, 0.0)
    assert (asked.recipe.hooks, asked.recipe.tests) == (False, False)


def test_a_tarball(http: FlaskClient, builds: MemoryBuilds) -> None:
    url = "https://files.example.org/app.tgz?signature=s1gnature"
    task = added(http, env={"TGZ_URL": url, "IMAGE_NAME": "registry.example.org/app"})
    assert request_of(builds, task).source.tarball.address == url
    assert shown(http, task)["env"]["TGZ_URL"] == "https://files.example.org/app.tgz?*******"


@pytest.mark.parametrize(
    "config", [{"auths": {"https://registry.example.org/v1/": 0}}, {"registry.example.org": 0}]
)
@pytest.mark.parametrize("name", ["DOCKERCFG", "DOCKER_CONFIG"])
def test_logins_of_docker(
    http: FlaskClient, builds: MemoryBuilds, name: str, config: dict[str, Any]
) -> None:
    text = json.dumps(config).replace("0", '{"auth": "Y2k6cHctY2FuYXJ5"}', 1)
    task = added(http, masked_env={name: text})
    (login,) = request_of(builds, task).registries
    assert (login.registry, login.auth.username) == ("registry.example.org", "ci")
    assert login.auth.password == Secret("pw-canary")


@pytest.mark.parametrize(
    ("url", "username", "password"),
    [
        ("https://ann:s3cr%20t@git.example.org/app.git", "ann", "s3cr t"),
        ("https://t0ken@git.example.org/app.git", "git", "t0ken"),
    ],
)
def test_a_password_in_the_url_is_one(
    http: FlaskClient, builds: MemoryBuilds, url: str, username: str, password: str
) -> None:
    task = added(http, env={**ENV, "GIT_REPO": url})
    git = request_of(builds, task).source.git
    assert (git.url, git.username) == ("https://git.example.org/app.git", username)
    assert git.password == Secret(password)
    assert shown(http, task)["env"]["GIT_REPO"] == "https://***@git.example.org/app.git"


def test_hooks_and_tests_where_the_operator_leaves_it_to_requests(builds: MemoryBuilds) -> None:
    policy = replace(POLICY, repository_programs=Permission.REQUEST)
    http = application(builds, People(SingleUser(USER, Secret(PASSWORD))), policy).test_client()
    recipe = request_of(builds, added(http)).recipe
    assert (recipe.hooks, recipe.tests) == (True, True)


def test_no_answer_shows_a_secret(http: FlaskClient, builds: MemoryBuilds) -> None:
    """Whichever of the two environments it came in, and variables that nobody knows."""
    env = {**ENV, "USERNAME": "ci", "PASSWORD": "pw-canary", "X_TOKEN": "x-canary"}
    env["GIT_REPO"], env["GIT_ID_RSA"] = "ssh://git@git.example.org/app.git", KEY
    task = added(http, env=env, masked_env={"OTHER": "other-canary"}, callback_uri=CALLBACK)
    builds.place(build_of(task))
    pages = [f"{V1}/{task}", V1, f"{V0}/{task}", f"/api/v1/builds/{build_of(task)}"]
    text = "".join(call(http, "GET", page).text for page in pages)
    for secret in ("pw-canary", "x-canary", "other-canary", "c2VjcmV0", "c4llback"):
        assert secret not in text, secret
    kept = repr(builds.builds[build_of(task)])
    for secret in ("pw-canary", "x-canary", "other-canary", "c2VjcmV0"):
        assert secret not in kept, secret


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ({}, "env.GIT_REPO: give GIT_REPO or TGZ_URL"),
        ({}, "env.IMAGE_NAME: is required"),
        ({**ENV, "GIT_REPO": "no url"}, "env.GIT_REPO: "),
        ({**ENV, "IMAGE_NAME": "UPPER"}, "env.IMAGE_NAME: "),
        ({**ENV, "GIT_CLONE_OPTS": "--upload-pack=x"}, "env.GIT_CLONE_OPTS: knows --recursive"),
        ({**ENV, "GIT_CLONE_OPTS": "'"}, "env.GIT_CLONE_OPTS: knows --recursive"),
        ({**ENV, "DOCKERCFG": "no json"}, "env.DOCKERCFG: is no Docker configuration"),
        ({**ENV, "DOCKERCFG": '{"a": 1}'}, "env.DOCKERCFG: is no Docker configuration"),
        ({**ENV, "GIT_ID_RSA": "no key"}, "env.GIT_ID_RSA: "),
        ({**ENV, "DOCKERFILE_PATH": "/../.."}, "env.DOCKERFILE_PATH: "),
    ],
)
def test_faults_name_the_variable(http: FlaskClient, env: dict[str, str], complaint: str) -> None:
    answer = call(http, "POST", V1, {**TASK, "env": env})
    assert answer.status_code == 422
    told = json.loads(answer.data)["error"].split("; ")
    assert any(each.startswith(complaint) for each in told), told
    assert len({each.partition(":")[0] for each in told}) == len(told)


# -- callbacks -------------------------------------------------------------------------------------


def test_a_callback_gets_exactly_eremetics_body(http: FlaskClient, builds: MemoryBuilds) -> None:
    task = added(http, callback_uri=CALLBACK)
    ended(builds, task)
    (payload,) = [
        view.delivery.payload
        for view in builds.sent.values()
        if view.delivery.url == Secret(CALLBACK)
    ]
    at = shown(http, task)["status"][-1]["time"]
    assert payload == f'{{"time":{at},"status":"TASK_FINISHED","task_id":"{task}"}}'


def test_a_callback_to_a_host_that_the_operator_did_not_list(http: FlaskClient) -> None:
    answer = call(http, "POST", V1, {**TASK, "callback_uri": "http://169.254.169.254/"})
    assert answer.status_code == 422
    assert "callback_uri: webhooks to this host" in json.loads(answer.data)["error"]


def test_root_204_and_the_page_for_browsers(http: FlaskClient) -> None:
    answer = call(http, "GET", "/")
    assert (answer.status_code, answer.data) == (204, b"")
    page = call(http, "GET", "/", headers={"Accept": "text/html,*/*"})
    assert (page.status_code, page.headers["Location"]) == (303, "/ui/")
    assert http.get("/").status_code == 401
