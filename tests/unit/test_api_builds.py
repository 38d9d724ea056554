"""Submitting, looking, listing, cancelling: what a user of the HTTP API can rely on."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from builder_framework.domain import events as ev
from builder_framework.domain.delivery import DeliveryState, Try
from builder_framework.errors import BuilderError, LeadershipLostError, StaleWriteError
from builder_framework.ports import DeliveryView, Readiness, Refusal, RequestPolicy
from builder_framework.protocol import FailedStep, Phase, PushedImage, Reason, Report, Steps
from builder_framework.redact import Secret
from tests.unit.builds_double import AUTH, BODY, USER, MemoryBuilds

pytest_plugins = ("tests.unit.conftest_api",)

BUILDS = "/api/v1/builds"


def submit(http: Any, **fields: Any) -> str:
    answer = http.post(BUILDS, json={**BODY, **fields}, auth=AUTH)
    assert answer.status_code == 202, answer.text
    build_id = answer.json["id"]
    assert isinstance(build_id, str)
    return build_id


def errors(answer: Any) -> dict[str, str]:
    assert answer.content_type == "application/problem+json"
    return {item["field"]: item["problem"] for item in answer.json["errors"]}


def test_a_submission_is_accepted_with_its_address(http: Any) -> None:
    """202 with Location, the defaults of the operator filled in."""
    answer = http.post(BUILDS, json=BODY, auth=AUTH)
    assert answer.status_code == 202
    build = answer.json
    assert answer.headers["Location"] == build["links"]["self"] == f"{BUILDS}/{build['id']}"
    assert build["state"] == "QUEUED"
    assert build["owner"] == USER
    assert build["timeout"] == 3600.0
    assert build["resources"] == {"cpus": 1.0, "mem": 2048.0, "disk": 0.0}
    assert build["queue"]["position"] == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", build["created_at"])
    assert http.get(answer.headers["Location"], auth=AUTH).json == build


def test_every_faulty_field_is_listed_at_once(http: Any) -> None:
    """Shape, grammar, limits, duplicates, numbers and unknown names, all in one answer."""
    body = """{
        "source": {"git": {"url": "https://user:canary@host/x", "ref": "-x", "token": "canary"}},
        "images": ["registry.example.org/Upper:1", 5],
        "contxt": "x", "context": "../x", "dockerfile": "/etc/passwd", "target": "a b",
        "build_args": {"1x": "v", "ok": 3}, "labels": {"-": "v"},
        "registry_auth": {"username": "me"},
        "resources": {"cpus": 1e9, "mem": true, "disk": NaN, "gpus": 1},
        "constraints": [["rack", "LIKE", "("], ["rack", "NEAR", "x"], ["rack"]],
        "timeout": 1e8, "queue_ttl": 0, "priority": 1.5, "priority": 2000
    }"""
    answer = http.post(BUILDS, data=body, content_type="application/json", auth=AUTH)
    assert answer.status_code == 400
    assert answer.json["code"] == "invalid_input"
    found = errors(answer)
    assert set(found) == {
        "source.git.url", "source.git.ref", "source.git.token", "images.0", "images.1",
        "contxt", "context", "dockerfile", "target", "build_args.1x", "build_args.ok", "labels.-",
        "registry_auth.password", "resources.cpus", "resources.mem", "resources.disk",
        "resources.gpus", "constraints.0", "constraints.1", "constraints.2",
        "timeout", "queue_ttl", "priority",
    }  # fmt: skip
    assert "username and password" in found["source.git.url"]
    assert found["contxt"] == "unknown field; did you mean 'context'?"
    assert found["source.git.token"] == "unknown field; did you mean 'password'?"
    assert found["timeout"] == "must be at most 21600 s (the operator's limit)"
    assert found["priority"] == "given more than once"
    assert "RE2" in found["constraints.0"]
    assert "canary" not in answer.text


def test_required_fields_are_named(http: Any) -> None:
    """An empty object says what is needed."""
    answer = http.post(BUILDS, json={}, auth=AUTH)
    assert errors(answer) == {"source": "is required", "images": "is required"}


@pytest.mark.parametrize(
    ("git", "field"),
    [
        ({"username": "me"}, "source.git.password"),
        ({"password": "canary"}, "source.git.password"),
        ({"url": "ssh://git@host/x", "username": "m", "password": "p"}, "source.git.password"),
        ({"username": "a:b", "password": "p"}, "source.git.username"),
        ({"username": "a\nb", "password": "p"}, "source.git.username"),
        ({"username": "a", "password": "p\r\n"}, "source.git.password"),
        ({"url": "file:///etc"}, "source.git.url"),
        ({"url": "--upload-pack=x"}, "source.git.url"),
    ],
)
def test_credentials_that_cannot_work_are_refused(
    http: Any, git: dict[str, str], field: str
) -> None:
    """Half a login, one for the wrong protocol, one that would break the protocol's lines."""
    source = {"git": {**BODY["source"]["git"], **git}}
    answer = http.post(BUILDS, json={**BODY, "source": source}, auth=AUTH)
    assert set(errors(answer)) == {field}


def test_a_failed_build_shows_where_it_failed(http: Any, builds: MemoryBuilds) -> None:
    """The step with its line, and the last lines of the log, without the secret in them."""
    body = {**BODY, "secrets": {"token": "s3cret-canary"}}
    build_id = http.post(BUILDS, json=body, auth=AUTH).json["id"]
    builds.place(build_id)
    builds.write(build_id, b"".join(b"line %d s3cret-canary\n" % n for n in range(2000)))
    report = Report(failed_step=FailedStep("[2/2] RUN echo s3cret-canary", 7, 2))
    builds.apply(build_id, ev.TaskFailed(1, Reason.STEP_FAILED, "it failed", report))
    build = http.get(f"{BUILDS}/{build_id}", auth=AUTH).json
    assert build["result"]["failed_step"] == {
        "name": "[2/2] RUN echo ***",
        "line": 7,
        "exit_code": 2,
    }
    tail = build["log"]["tail"].splitlines()
    assert tail == [f"line {n} ***" for n in range(1980, 2000)]
    (listed,) = http.get(BUILDS, auth=AUTH).json["builds"]
    assert listed["log"]["tail"] is None


LOGIN = {"registry": "docker.io", "username": "u", "password": "canary"}


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"secrets": {"a,b": "canary"}}, "secrets.a,b", "an id is"),
        ({"secrets": {"a": ""}}, "secrets.a", "empty"),
        ({"secrets": {"a": "c" * 65537}}, "secrets.a", "65536 bytes"),
        ({"ssh": {"default": "canary"}}, "ssh.default", "BEGIN"),
        ({"no_cache": "yes"}, "no_cache", "true or false"),
        ({"add_hosts": {"-x": "10.0.0.1"}}, "add_hosts.-x", "host name"),
        ({"add_hosts": {"x": "canary"}}, "add_hosts.x", "IPv4 or IPv6"),
        ({"shm_size": 0}, "shm_size", "greater than"),
        ({"network": "bridge"}, "network", "'none'"),
        ({"platforms": ["amd64"]}, "platforms.0", "linux/amd64"),
        ({"platforms": ["linux/a", "linux/a"]}, "platforms", "more than once"),
        ({"image_labels": {"=": "x"}}, "image_labels.=", "key"),
        ({"timestamp": "yesterday"}, "timestamp", "seconds since 1970"),
        ({"provenance": True}, "provenance", "'max'"),
        ({"registries": [{**LOGIN, "registry": "x/y"}]}, "registries.0.registry", "host name"),
        ({"registries": [LOGIN, LOGIN]}, "registries", "two logins"),
        ({"registries": [{**LOGIN, "user": "x"}]}, "registries.0.user", "'username'"),
        ({"extra_hosts": {}}, "extra_hosts", "'add_hosts'"),
    ],
)
def test_options_that_cannot_be_are_refused(
    http: Any, body: dict[str, Any], field: str, words: str
) -> None:
    """The field and the way out are named, a secret is not repeated."""
    answer = http.post(BUILDS, json={**BODY, **body}, auth=AUTH)
    assert set(errors(answer)) == {field}
    assert words in errors(answer)[field]
    assert "canary" not in answer.text


SSH = "ssh://git@host/x"
HOST = "host ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGV4"
# PKCS#8 says nothing about its content, so any will do.
KEY = "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n"
LOCKED = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE")


@pytest.mark.parametrize(
    ("git", "field", "words"),
    [
        ({"ssh_key": KEY}, "ssh_key", "the URL is not: write ssh://"),
        ({"url": SSH, "ssh_key": "canary"}, "ssh_key", "no private key"),
        ({"url": SSH, "ssh_key": "ssh-rsa canary"}, "ssh_key", "public key"),
        ({"url": SSH, "ssh_key": LOCKED}, "ssh_key", "has a passphrase"),
        ({"url": SSH, "username": "m", "password": "p"}, "password", "needs an ssh_key"),
        ({"known_hosts": HOST}, "known_hosts", "is for git over ssh"),
        ({"url": SSH, "known_hosts": "host"}, "known_hosts", "line 1"),
        ({"depth": -1}, "depth", "greater than or equal to 0"),
        ({"depth": True}, "depth", "a whole number"),
        ({"recursive": True}, "recursive", "did you mean 'submodules'?"),
        ({"logins": [{"host": "h"}]}, "logins.0.ssh_key", "needs username and password"),
        ({"logins": [{"host": "h/x", "ssh_key": KEY}]}, "logins.0.host", "no host name"),
        ({"logins": [{"host": "h", "username": "u"}]}, "logins.0.password", "go together"),
        ({"logins": [{"host": "h", "ssh_key": KEY}] * 2}, "logins", "more than once"),
        ({"logins": [{"host": "h", "ssh_key": "x"}]}, "logins.0.ssh_key", "no private key"),
        ({"logins": [{"host": "h", "key": KEY}]}, "logins.0.key", "did you mean 'ssh_key'?"),
    ],
)
def test_git_options_that_cannot_work_are_refused(
    http: Any, git: dict[str, Any], field: str, words: str
) -> None:
    """With what to do instead; no value is repeated."""
    source = {"git": {**BODY["source"]["git"], **git}}
    answer = http.post(BUILDS, json={**BODY, "source": source}, auth=AUTH)
    found = errors(answer)
    assert words in found[f"source.git.{field}"]
    assert "canary" not in answer.get_data(as_text=True)


def test_keys_and_logins_are_taken_and_masked(http: Any, builds: MemoryBuilds) -> None:
    git = {
        "url": SSH,
        "ssh_key": KEY.replace("canary", "canary-1"),
        "known_hosts": HOST,
        "logins": [
            {"host": "Other.example:2222", "ssh_key": KEY.replace("canary", "canary-2")},
            {"host": "third.example", "username": "u", "password": "canary-3"},
        ],
    }
    answer = http.post(BUILDS, json={**BODY, "source": {"git": git}}, auth=AUTH)
    assert answer.status_code == 202, answer.json
    assert "canary" not in answer.get_data(as_text=True)
    shown = answer.json["source"]["git"]
    assert (shown["ssh_key"], shown["known_hosts"]) == ("***", f"{HOST}\n")
    assert shown["logins"] == [
        {"host": "other.example:2222", "username": None, "password": None, "ssh_key": "***"},
        {"host": "third.example", "username": "u", "password": "***", "ssh_key": None},
    ]
    kept = builds.get(answer.json["id"]).build.request
    secrets = [secret.reveal() for secret in kept.source.secrets() if secret is not None]
    assert [secret.count("canary") for secret in secrets] == [1, 1, 1]
    for number in (1, 2, 3):
        assert kept.redactor().text(f"canary-{number}") == "***"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"\xff", "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b"[" * 9 + b"]" * 9, "invalid_json"),
        (json.dumps({str(n): 0 for n in range(1001)}).encode(), "invalid_json"),
        (b"[" + b"0," * 6000 + b"0]", "invalid_json"),
        (b"[]", "invalid_input"),
        (b'"x"', "invalid_input"),
        (b'{"context": "a\\u0000b"}', "invalid_input"),
        (b'{"context": "\\ud800"}', "invalid_input"),
        (b'{"\\ud800": 1}', "invalid_input"),
        (b'{"registry_auth": {"username": "u", "password": "\\ud800\\ud801"}}', "invalid_input"),
        (b'{"timeout": 1e999}', "invalid_input"),
        (b'{"timeout": ' + b"9" * 5000 + b"}", "invalid_input"),
        (b'{"timeout": Infinity}', "invalid_input"),
    ],
)
def test_strange_bodies_are_refused_not_stumbled_over(http: Any, body: bytes, code: str) -> None:
    """Whatever arrives: 400 with a code."""
    answer = http.post(BUILDS, data=body, content_type="application/json", auth=AUTH)
    assert answer.status_code == 400
    assert answer.json["code"] == code


def test_other_content_types_and_sizes_are_refused(http: Any) -> None:
    """415 keeps cross-site forms out, 413 keeps memory flat."""
    answer = http.post(BUILDS, data="{}", content_type="text/plain", auth=AUTH)
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")
    answer = http.post(
        BUILDS, data=b" " * (256 * 1024 + 1), content_type="application/json", auth=AUTH
    )
    assert (answer.status_code, answer.json["code"]) == (413, "payload_too_large")
    answer = http.post(
        BUILDS, content_type="application/json", headers={"Transfer-Encoding": "chunked"}, auth=AUTH
    )
    assert (answer.status_code, answer.json["code"]) == (411, "length_required")
    answer = http.delete(BUILDS, auth=AUTH)
    assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]
    answer = http.get("/nowhere", auth=AUTH)
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_pages_of_other_sites_cannot_write(http: Any) -> None:
    """A browser resends the login by itself; the origin tells who asks."""
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = http.post(BUILDS, json=BODY, auth=AUTH, headers=headers)
        assert (answer.status_code, answer.json["code"]) == (403, "foreign_origin")
    assert (
        http.post(BUILDS, json=BODY, auth=AUTH, headers={"Origin": "http://localhost"}).status_code
        == 202
    )


def test_an_idempotency_key_makes_one_build(http: Any, builds: MemoryBuilds) -> None:
    """The same key and body give the same build, another body a conflict."""
    headers = {"Idempotency-Key": "key 1"}
    first = http.post(BUILDS, json=BODY, auth=AUTH, headers=headers)
    assert "Idempotent-Replayed" not in first.headers
    reordered = dict(reversed(BODY.items()))
    second = http.post(BUILDS, json=reordered, auth=AUTH, headers=headers)
    assert second.status_code == 202
    assert second.headers["Idempotent-Replayed"] == "true"
    assert first.json["id"] == second.json["id"]
    assert len(builds.builds) == 1
    other = http.post(BUILDS, json={**BODY, "context": "x"}, auth=AUTH, headers=headers)
    assert (other.status_code, other.json["code"]) == (409, "conflict")
    bad = http.post(BUILDS, json=BODY, auth=AUTH, headers={"Idempotency-Key": "x" * 256})
    assert set(errors(bad)) == {"Idempotency-Key"}


def test_the_list_is_filtered_and_paged(http: Any, builds: MemoryBuilds) -> None:
    """Newest first; following `next` gives every build once; filters take any spelling."""
    ids = [submit(http, labels={"team": "a:b" if n % 2 else "c"}) for n in range(5)]
    submit(http, images=["app"])
    builds.apply(ids[0], ev.CancelRequested("me"))
    seen: list[str] = []
    url: str | None = f"{BUILDS}?limit=2&image=registry.example.org/app:1"
    while url:
        answer = http.get(url, auth=AUTH)
        seen += [build["id"] for build in answer.json["builds"]]
        url = answer.json["next"]
        assert answer.headers.get("Link") == (f'<{url}>; rel="next"' if url else None)
    assert seen == ids[::-1]

    def count(query: str) -> int:
        return len(http.get(f"{BUILDS}?{query}", auth=AUTH).json["builds"])

    assert count("state=cancelled") == 1
    assert count("state=CANCELLED,QUEUED") == 6
    assert count("state=QUEUED&state=RUNNING") == 5
    assert count("label=team:a:b") == 2
    assert count("image=docker.io/library/app:latest") == 1
    assert count("git_url=HTTPS://GIT.example.org/app.git") == 6
    assert count("owner=nobody") == 0


def test_faulty_filters_are_all_named(http: Any) -> None:
    """Query parameters are held to the same rules as bodies."""
    query = "state=DONE&limit=0&label=x&imag=x&image=UPPER&git_url=https://u:canary@h/x&owner="
    answer = http.get(f"{BUILDS}?{query}", auth=AUTH)
    assert set(errors(answer)) == {"state", "limit", "label", "imag", "image", "git_url", "owner"}
    assert "canary" not in answer.text
    answer = http.get(f"{BUILDS}?cursor=forged", auth=AUTH)
    assert set(errors(answer)) == {"cursor"}


def test_a_waiting_build_says_why(http: Any, builds: MemoryBuilds) -> None:
    """Position, sentence, and agents per reason; gone once the build is placed."""
    builds.refusals = (Refusal("insufficient_mem", 2),)
    build_id = submit(http)
    queue = http.get(f"{BUILDS}/{build_id}", auth=AUTH).json["queue"]
    assert queue == {
        "position": 1,
        "message": "waits for an offer",
        "refusals": [{"reason": "insufficient_mem", "agents": 2}],
        "agents_seen": 2,
        "last_offer_at": None,
    }
    builds.place(build_id)
    assert http.get(f"{BUILDS}/{build_id}", auth=AUTH).json["queue"] is None


def test_a_finished_build_shows_attempts_and_result(http: Any, builds: MemoryBuilds) -> None:
    """Everything to find image, agent and task again."""
    build_id = submit(http)
    builds.place(build_id)
    digest = "sha256:" + "0" * 64
    report = Report(
        phase=Phase.PUSHING,
        commit="a" * 40,
        digest=digest,
        images=(PushedImage("registry.example.org/app:1", digest),),
        size=5,
        layers=2,
        steps=Steps(3, 1),
        timings={"total": 1.5},
    )
    builds.apply(build_id, ev.TaskSucceeded(1, report))
    build = http.get(f"{BUILDS}/{build_id}", auth=AUTH).json
    assert (build["state"], build["reason"], build["phase"]) == ("SUCCEEDED", None, None)
    assert build["result"] == {
        "commit": "a" * 40,
        "source_digest": None,
        "digest": digest,
        "images": [{"name": "registry.example.org/app:1", "digest": digest}],
        "size": 5,
        "layers": 2,
        "steps": {"total": 3, "cached": 1},
        "failed_step": None,
        "timings": {"total": 1.5},
    }
    (attempt,) = build["attempts"]
    assert attempt["task_id"] == f"{build_id}.1"
    assert attempt["agent"] == {
        "id": "agent-1",
        "hostname": "node-1",
        "url": "http://10.0.0.1:5051",
    }
    assert attempt["placed_at"] < attempt["running_at"] < attempt["ended_at"]


def test_cancelling(http: Any) -> None:
    """202 once, 409 when it is over, and no fields."""
    build_id = submit(http)
    address = f"{BUILDS}/{build_id}/cancel"
    assert http.post(address, data="x=1", auth=AUTH).status_code == 415
    form = "application/x-www-form-urlencoded"
    assert http.post(address, content_type=form, auth=AUTH).status_code == 415
    assert set(errors(http.post(address, json={"x": 1}, auth=AUTH))) == {"body"}
    answer = http.post(address, auth=AUTH)
    assert (answer.status_code, answer.json["state"]) == (202, "CANCELLED")
    answer = http.post(address, json={}, auth=AUTH)
    assert (answer.status_code, answer.json["code"]) == (409, "conflict")


# -- webhooks ------------------------------------------------------------------------------------


@pytest.fixture
def policy() -> RequestPolicy:
    return RequestPolicy(webhook_hosts=("hooks.example.org",))


def test_a_build_may_name_webhooks_where_the_operator_allows_it(
    http: Any, builds: MemoryBuilds
) -> None:
    """Paths of webhooks are passwords: they are kept, and shown to nobody."""
    build_id = submit(http, webhooks=["https://HOOKS.example.org/t0ken-canary"])
    assert builds.builds[build_id].request.webhooks == (
        Secret("https://hooks.example.org/t0ken-canary"),
    )
    answer = http.get(f"{BUILDS}/{build_id}", auth=AUTH)
    assert answer.json["webhooks"] == ["https://hooks.example.org/***"]
    listed = http.get(answer.json["links"]["deliveries"], auth=AUTH)
    assert "canary" not in answer.text + listed.text


@pytest.mark.parametrize(
    ("webhooks", "problem"),
    [
        (["https://elsewhere.example.org/canary"], "ask the operator to list it"),
        (["http://hooks.example.org/canary"], "ask the operator to list it"),
        (["https://u:canary@hooks.example.org/"], "no user"),
        (["https://hooks.example.org/***"], "give the whole URL"),
        (["https://hooks.example.org/"] * 6, "more than 5 entries"),
    ],
)
def test_other_webhooks_are_refused_with_what_to_do(
    http: Any, webhooks: list[str], problem: str
) -> None:
    answer = http.post(BUILDS, json={**BODY, "webhooks": webhooks}, auth=AUTH)
    assert answer.status_code == 400
    assert problem in errors(answer)["webhooks"]
    assert "canary" not in answer.text


def test_deliveries_are_listed_and_sent_again(http: Any, builds: MemoryBuilds) -> None:
    build_id = submit(http)
    ((delivery_id, view),) = builds.sent.items()
    made = Try(1.0, 0.25, 500, "answered 500")
    builds.sent[delivery_id] = DeliveryView(
        replace(view.delivery, state=DeliveryState.FAILED, next_at=None, ended_at=2.0, tries=1),
        (made,),
    )
    (shown,) = http.get(f"{BUILDS}/{build_id}/deliveries", auth=AUTH).json["deliveries"]
    assert shown["id"] == delivery_id
    assert (shown["event"], shown["state"]) == ("build.queued", "FAILED")
    assert shown["url"] == "https://hooks.example.org/***"
    assert (shown["next_at"], shown["ended_at"]) == (None, "1970-01-01T00:00:02.000Z")
    assert shown["tries"] == [
        {
            "at": "1970-01-01T00:00:01.000Z",
            "seconds": 0.25,
            "status": 500,
            "error": "answered 500",
        }
    ]
    answer = http.post(shown["links"]["redeliver"], auth=AUTH)
    assert (answer.status_code, answer.json["id"]) == (202, delivery_id)
    assert answer.json["state"] == "PENDING"
    assert answer.json["next_at"] is not None


def test_deliveries_that_do_not_exist_are_404(http: Any, builds: MemoryBuilds) -> None:
    build_id, other = submit(http), submit(http)
    of_other = [i for i, v in builds.sent.items() if v.delivery.build_id == other]
    for path in ("0" * 16 + "/deliveries", "x/deliveries"):
        assert http.get(f"{BUILDS}/{path}", auth=AUTH).status_code == 404
    for name in ("msg_x", "%00", *of_other):
        answer = http.post(f"{BUILDS}/{build_id}/deliveries/{name}/redeliver", auth=AUTH)
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")


@pytest.mark.parametrize("build_id", ["x", "0" * 16, "..%2f..%2fetc", "0" * 4000, "%00"])
@pytest.mark.parametrize("rest", ["", "/log", "/log/stream"])
def test_unknown_builds_are_404(http: Any, build_id: str, rest: str) -> None:
    """Nothing but an id of ours reaches store or files."""
    answer = http.get(f"{BUILDS}/{build_id}{rest}", auth=AUTH)
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_no_secret_comes_out_anywhere(
    http: Any, builds: MemoryBuilds, caplog: pytest.LogCaptureFixture
) -> None:
    """Passwords in, and repeated in every text a build can have: never out."""
    caplog.set_level(logging.DEBUG)
    secrets = ("GITCANARY/1+x", "REGCANARY?2")
    git, registry = secrets
    said = f"{git} {registry} https://u:URLCANARY@h/"
    build_id = submit(
        http,
        source={"git": {"url": "https://h/x", "username": "u", "password": git, "ref": git}},
        registry_auth={"username": "u", "password": registry},
        build_args={"ARG": registry},
        labels={"label": f"x{git}"},
    )
    builds.refusals = (Refusal(f"constraint:{registry}", 1),)
    answers = [http.get(f"{BUILDS}/{build_id}", auth=AUTH).text]
    builds.place(build_id)
    builds.write(build_id, b"log")
    report = Report(commit=git, digest=git, images=(PushedImage(said, git),), timings={git: 1.0})
    builds.apply(build_id, ev.TaskFailed(1, Reason.STEP_FAILED, said, report))
    builds.set(build_id, log_complete=True)
    answers += [
        http.get(f"{BUILDS}/{build_id}", auth=AUTH).text,
        http.get(BUILDS, auth=AUTH).text,
        http.get(f"{BUILDS}/{build_id}/log/stream", auth=AUTH).text,
    ]
    assert '"password":"***"' in answers[1]
    builds.failure = RuntimeError(said)
    body = {**BODY, "registry_auth": {"username": "u", "password": registry}}
    answers.append(http.post(BUILDS, json=body, auth=AUTH).text)
    answers.append(http.get(f"{BUILDS}/{build_id}", auth=AUTH).text)
    assert caplog.records
    for text in answers:
        for canary in ("GITCANARY", "REGCANARY", "URLCANARY"):
            assert canary not in text
    # The second failure is a GET: it brought no secret, so its traceback is only URL-masked. What
    # the request itself brought must be masked in the log.
    posted = [record.getMessage() for record in caplog.records if "POST" in record.getMessage()]
    assert posted
    assert all("REGCANARY" not in text and "URLCANARY" not in text for text in posted)


def test_a_faulty_request_does_not_echo_its_password(http: Any) -> None:
    """Not even where the password is also the name of an unknown field."""
    body = {**BODY, "registry_auth": {"username": "u", "password": "CANARY9"}, "CANARY9": 1}
    answer = http.post(BUILDS, json=body, auth=AUTH)
    assert answer.status_code == 400
    assert "CANARY9" not in answer.text
    assert set(errors(answer)) == {"***"}


def test_a_store_that_is_away_is_a_503(http: Any, builds: MemoryBuilds) -> None:
    """With Retry-After, and without the database's address."""
    builds.store_fails()
    answer = http.post(BUILDS, json=BODY, auth=AUTH)
    assert (answer.status_code, answer.json["code"]) == (503, "store_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert "dbpassword" not in answer.text
    assert "postgres" not in answer.text


@pytest.mark.parametrize("failure", [LeadershipLostError("no"), StaleWriteError("no")])
def test_who_asks_a_leader_that_was_replaced_is_told_to_ask_again(
    http: Any, builds: MemoryBuilds, failure: BuilderError
) -> None:
    builds.failure = failure
    answer = http.post(BUILDS, json=BODY, auth=AUTH)
    assert (answer.status_code, answer.json["code"]) == (503, failure.code)
    assert int(answer.headers["Retry-After"]) > 0


def test_an_unexpected_error_is_a_500_without_internals(
    http: Any, builds: MemoryBuilds, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback is in the log, in one record; the answer has none of it."""
    builds.failure = RuntimeError("internal detail")
    answer = http.get(f"{BUILDS}/{'0' * 16}?x=%0aforged", auth=AUTH)
    assert (answer.status_code, answer.json["code"]) == (500, "internal_error")
    assert "internal detail" not in answer.text
    assert "internal detail" in caplog.text


def test_health_readiness_and_version(http: Any, builds: MemoryBuilds) -> None:
    """Open to load balancers; readiness tells its checks."""
    assert http.get("/healthz").json == {"status": "ok"}
    assert http.get("/readyz").status_code == 200
    builds.ready = Readiness(False, {"mesos": "not subscribed"})
    answer = http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json == {"ready": False, "checks": {"mesos": "not subscribed"}}
    assert http.get("/api/v1/version").json["api"] == "v1"


@pytest.mark.parametrize("tag", [":builder-staging", ":5000/app:builder-staging"])
def test_a_tag_where_images_wait_for_their_own_is_refused(http: Any, tag: str) -> None:
    name = f"registry.example.org{tag}" if "/" in tag else f"registry.example.org/app{tag}"
    answer = http.post(BUILDS, json={**BODY, "images": [name]}, auth=AUTH)
    assert answer.status_code == 400
    (problem,) = answer.json["errors"]
    assert problem["field"] == "images"
    assert "choose another" in problem["problem"]


@pytest.mark.parametrize("text", ["shop", "SHOP web", "web-1", "v1", "ann"])
def test_search(http: FlaskClient, builds: MemoryBuilds, text: str) -> None:
    body = {**BODY, "images": ["registry.example.org/shop/web-1:v1"]}
    http.post("/api/v1/builds", json=BODY, auth=AUTH)
    wanted = http.post("/api/v1/builds", json=body, auth=AUTH).json
    found = http.get("/api/v1/builds", query_string={"q": text}, auth=AUTH).json
    assert wanted is not None
    assert found is not None
    ids = [each["id"] for each in found["builds"]]
    assert ids[0] == wanted["id"]
    assert len(ids) == (2 if text == "ann" else 1)


@pytest.mark.parametrize("text", ["", "***", "a b c d e f g h i", "x" * 3000, "%00"])
def test_a_search_for_nothing_names_the_field(http: FlaskClient, text: str) -> None:
    answer = http.get(f"/api/v1/builds?q={text}", auth=AUTH)
    assert answer.status_code == 400
    assert answer.json is not None
    assert [each["field"] for each in answer.json["errors"]] == ["q"]
