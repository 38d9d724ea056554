"""What a client asks for is what the framework gets and what the API shows again."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import render, schemas, strictjson
from builder_framework import codec
from builder_framework.domain.model import Resources
from builder_framework.errors import InvalidInputError
from builder_framework.ports import Permission, RequestPolicy
from builder_framework.protocol import CacheUse, EngineMode
from builder_framework.redact import MASK, Secret
from tests.sources import git_of

POLICY = RequestPolicy(
    git_protocols=("https", "ssh", "http", "file"),
    webhook_hosts=("*.example.org", "http://10.0.0.1:8080"),
    repository_programs=Permission.REQUEST,
)

PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----\nQUJD\n-----END PRIVATE KEY-----\n"

names = st.text("abcdefghijklmnop", min_size=1, max_size=10)
# Upper case, so that a password never is part of another field: masking is tested elsewhere.
passwords = st.text("ABCDEFGHIJ€+", min_size=1, max_size=20)
values = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0:/@ABCDEFGHIJ€+"), max_size=20
)
logins = st.fixed_dictionaries({"username": names, "password": passwords})
urls = names.map(lambda n: f"https://git.example.org/{n}.git")
ssh_urls = st.sampled_from(["ssh://git@host/x", "git@host:x", "ssh://host:22/x@y"])
constraints = st.tuples(
    st.sampled_from(["rack", "hostname"]),
    st.sampled_from(["EQUALS", "CLUSTER", "LIKE", "UNLIKE", "IS"]),
    st.sampled_from(["a|b", "node-[0-9]+", "x"]),
).map(list)
optional_fields = {
    "context": st.sampled_from([".", "sub/dir"]),
    "dockerfile": st.sampled_from(["Dockerfile", "docker/app.Dockerfile"]),
    "target": names,
    "build_args": st.dictionaries(names, values, max_size=3),
    "secrets": st.dictionaries(names, passwords, max_size=2),
    "ssh": st.dictionaries(names, st.just(PRIVATE_KEY), max_size=1),
    "no_cache": st.booleans(),
    "pull": st.booleans(),
    "add_hosts": st.dictionaries(names, st.sampled_from(["10.0.0.1", "fe80::1"]), max_size=2),
    "shm_size": st.integers(1, 4096),
    "network": st.sampled_from(["default", "none", "host"]),
    "platforms": st.lists(
        st.sampled_from(["linux/amd64", "linux/arm64", "linux/arm/v7"]), unique=True
    ),
    "supersede": st.sampled_from(["none", "queued", "running"]),
    "group": names,
    "cache_from": st.lists(
        names.map(lambda n: f"registry.example.org/{n}:c"), unique=True, max_size=2
    ),
    "cache_to": names.map(lambda n: f"registry.example.org/{n}:c"),
    "registry_cache": st.booleans(),
    "hooks": st.booleans(),
    "tests": st.booleans(),
    "image_labels": st.dictionaries(names, values, max_size=2),
    "annotations": st.dictionaries(names, values, max_size=2),
    "standard_labels": st.booleans(),
    "timestamp": st.sampled_from(["source", "zero", "0", "1700000000"]),
    "sbom": st.booleans(),
    "provenance": st.sampled_from(["none", "min", "max"]),
    "registry_auth": logins,
    "registries": st.lists(
        st.builds(
            lambda registry, login, use: {"registry": registry, **login, "use": use},
            st.sampled_from(["docker.io", "registry.example.org:5000"]),
            logins,
            st.sampled_from(["pull", "push", "all"]),
        ),
        max_size=3,
        unique_by=lambda login: (login["registry"], login["use"]),
    ),
    "resources": st.fixed_dictionaries(
        {},
        optional={
            "cpus": st.floats(0.01, 256.0),
            "mem": st.integers(32, 4096) | st.floats(32.0, 4096.0),
            "disk": st.integers(0, 4096),
        },
    ),
    "constraints": st.lists(constraints, max_size=3),
    "timeout": st.integers(1, 6 * 3600) | st.floats(1.0, 6 * 3600.0),
    "queue_ttl": st.integers(1, 24 * 3600),
    "priority": st.integers(-1000, 1000),
    "max_attempts": st.integers(1, 10),
    "labels": st.dictionaries(names, values, max_size=3),
    "webhooks": st.lists(
        st.sampled_from(["https://hooks.example.org/", "http://10.0.0.1:8080/"]), max_size=5
    ),
}
git_options = {
    "ref": names,
    "depth": st.integers(0, 100),
    "submodules": st.booleans(),
    "lfs": st.booleans(),
    "keep_git_dir": st.booleans(),
    "logins": st.lists(
        st.builds(lambda host, login: {"host": host, **login}, names, logins),
        max_size=2,
        unique_by=lambda login: login["host"],
    ),
}
gits = st.one_of(
    st.fixed_dictionaries({"url": urls | ssh_urls}, optional=git_options),
    st.builds(lambda url, login: {"url": url, **login}, urls, logins),
)
bodies = st.fixed_dictionaries(
    {
        "source": gits.map(lambda git: {"git": git}),
        "images": st.lists(
            names.map(lambda n: f"registry.example.org:5000/{n}:tag"),
            min_size=1,
            max_size=3,
            unique=True,
        ),
    },
    optional=optional_fields,
)


def git_defaults() -> dict[str, Any]:
    absent = dict.fromkeys(("ref", "username", "password", "ssh_key", "known_hosts"))
    switches = dict.fromkeys(("submodules", "lfs", "keep_git_dir"), False)
    return {**absent, **switches, "depth": 1, "logins": []}


def filled(body: dict[str, Any]) -> dict[str, Any]:
    """The body with all defaults, and with masks where secrets stood."""
    git = {**git_defaults(), **body["source"]["git"]}
    if git["password"]:
        git["password"] = MASK
    git["logins"] = [{**login, "password": MASK, "ssh_key": None} for login in git["logins"]]
    auth = body.get("registry_auth")
    default = POLICY.default_resources
    return {
        "context": ".",
        "dockerfile": "Dockerfile",
        "target": None,
        "build_args": {},
        "no_cache": False,
        "pull": False,
        "add_hosts": {},
        "shm_size": None,
        "network": "default",
        "platforms": [],
        "supersede": "none",
        "group": None,
        "dedupe": "off",
        "engine": None,
        "exclusive": False,
        "cache": "shared",
        "executor_network": None,
        "attended": None,
        "project": None,
        "project_secrets": {},
        "cache_from": [],
        "cache_to": None,
        "registry_cache": False,
        "hooks": False,
        "tests": False,
        "image_labels": {},
        "annotations": {},
        "standard_labels": True,
        "timestamp": None,
        "sbom": False,
        "provenance": "none",
        "constraints": [],
        "timeout": POLICY.default_timeout,
        "queue_ttl": POLICY.default_queue_ttl,
        "priority": 0,
        "max_attempts": 3,
        "webhooks": [],
        "notify": [],
        "deploy": None,
        "labels": {},
        **body,
        "source": {"git": git},
        "secrets": dict.fromkeys(body.get("secrets", {}), MASK),
        "ssh": dict.fromkeys(body.get("ssh", {}), MASK),
        "registry_auth": None if auth is None else {**auth, "password": MASK},
        "registries": [{**login, "password": MASK} for login in body.get("registries", [])],
        "resources": {
            "cpus": default.cpus,
            "mem": default.mem,
            "disk": default.disk,
            **body.get("resources", {}),
        },
    }


@given(bodies)
def test_a_request_comes_back_as_it_was_sent(body: dict[str, Any]) -> None:
    """JSON -> BuildRequest -> JSON, defaults filled in, secrets masked and kept."""
    document, problems = strictjson.parse(json.dumps(body).encode())
    asked = schemas.parse_build(document, POLICY, problems).to_request(POLICY)
    assert render.request(asked) == filled(body)
    password = body["source"]["git"].get("password")
    assert git_of(asked.source).password == (None if password is None else Secret(password))
    if "registry_auth" in body:
        assert asked.registry_auth is not None
        assert asked.registry_auth.password.reveal() == body["registry_auth"]["password"]


@given(bodies)
def test_what_is_shown_can_be_sent_again(body: dict[str, Any]) -> None:
    """A build's request fields are a valid body: `show --json` can be resubmitted."""
    body.pop("ssh", None)  # nobody takes a mask for a key
    document, _ = strictjson.parse(json.dumps(body).encode())
    asked = schemas.parse_build(document, POLICY).to_request(POLICY)
    again, _ = strictjson.parse(json.dumps(render.request(asked)).encode())
    assert render.request(schemas.parse_build(again, POLICY).to_request(POLICY)) == render.request(
        asked
    )


@given(bodies, st.randoms())
def test_fingerprints_follow_the_meaning(body: dict[str, Any], random: Any) -> None:
    """Key order does not matter; owner and content do."""
    items = list(body.items())
    random.shuffle(items)
    one = schemas.parse_build(body, POLICY)
    other = schemas.parse_build(dict(items), POLICY)
    assert one.fingerprint("ann") == other.fingerprint("ann")
    assert one.fingerprint("ann") != one.fingerprint("bob")
    changed = {**body, "priority": 1 if body.get("priority") != 1 else 2}
    assert schemas.parse_build(changed, POLICY).fingerprint("ann") != one.fingerprint("ann")


@pytest.mark.parametrize(
    ("field", "value", "unit"),
    [
        ("resources.cpus", {"resources": {"cpus": 2.5}}, "2"),
        ("resources.mem", {"resources": {"mem": 101}}, "100 MiB"),
        ("resources.disk", {"resources": {"disk": 11}}, "10 MiB"),
        ("timeout", {"timeout": 61}, "60 s"),
        ("queue_ttl", {"queue_ttl": 121}, "120 s"),
        ("source.git.url", {"source": {"git": {"url": "http://host/x"}}}, "https"),
    ],
)
def test_the_operators_limits_hold(field: str, value: dict[str, Any], unit: str) -> None:
    """Above a maximum: that field, with the limit."""
    policy = RequestPolicy(
        max_timeout=60.0, max_queue_ttl=120.0, max_resources=Resources(2.0, 100.0, 10.0)
    )
    body = {"source": {"git": {"url": "https://host/x"}}, "images": ["app"], **value}
    with pytest.raises(InvalidInputError) as caught:
        schemas.parse_build(body, policy)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert unit in problem.problem


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"context": "sub"}, "leave context out"),
        ({"dockerfile": "docker/Dockerfile"}, "leave dockerfile out"),
        ({"timestamp": "source"}, "zero or seconds"),
    ],
)
def test_a_dockerfile_alone_is_all_there_is(asked: dict[str, Any], words: str) -> None:
    """Told at once, not by an executor after the wait for one."""
    body = {"source": {"inline": {"dockerfile": "FROM x"}}, "images": ["app"]}
    with pytest.raises(InvalidInputError) as caught:
        schemas.parse_build({**body, **asked}, POLICY)
    (problem,) = caught.value.problems
    assert problem.field == "source"
    assert words in problem.problem
    named = {"context": "./", "dockerfile": "./Dockerfile", "timestamp": "zero"}
    schemas.parse_build({**body, **named}, POLICY)


GIT = "https://git.example.org/app.git"
TARBALL = {"url": "https://files.example.org/app.tar.gz"}


@pytest.mark.parametrize(
    ("source", "fixed"),
    [
        ({"git": {"url": GIT, "ref": "0" * 40}}, True),
        ({"git": {"url": GIT, "ref": "0" * 39}}, False),
        ({"git": {"url": GIT, "ref": "main"}}, False),
        ({"git": {"url": GIT}}, False),
        ({"tarball": {**TARBALL, "sha256": "0" * 64}}, True),
        ({"tarball": TARBALL}, False),
        ({"inline": {"dockerfile": "FROM scratch"}}, True),
    ],
)
def test_only_what_cannot_change_may_be_had_from_another_build(
    source: dict[str, Any], fixed: bool
) -> None:
    """Whoever has pushed to a branch wants what he pushed, and is told what to ask for."""
    for wish in ("off", "running", "finished"):
        body = {"source": source, "images": ["h.example/app:1"], "dedupe": wish}
        if fixed or wish == "off":
            assert schemas.parse_build(body, POLICY).to_request(POLICY).dedupe.value == wish
            continue
        with pytest.raises(InvalidInputError) as caught:
            schemas.parse_build(body, POLICY)
        (problem,) = caught.value.problems
        assert problem.field == "dedupe"
        assert "a full commit id as source.git.ref" in problem.problem


@pytest.mark.parametrize(
    ("field", "asked", "words"),
    [
        ("engine", {"engine": "rootless"}, "nested and socket (BUILDER_ENGINES)"),
        (
            "executor_network",
            {"executor_network": "HOST"},
            "BRIDGE and weave (BUILDER_EXECUTOR_NETWORKS)",
        ),
        ("executor_network", {"executor_network": "weave", "engine": "socket"}, "another engine"),
        ("exclusive", {"exclusive": True, "engine": "socket"}, "another engine"),
    ],
)
def test_isolation_is_what_the_operator_allows_and_the_engine_can_keep(
    field: str, asked: dict[str, Any], words: str
) -> None:
    policy = RequestPolicy(
        engines=(EngineMode.NESTED, EngineMode.SOCKET), networks=("BRIDGE", "weave")
    )
    body = {"source": {"git": {"url": "https://host/x"}}, "images": ["app"]}
    with pytest.raises(InvalidInputError) as caught:
        schemas.parse_build({**body, **asked}, policy)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert words in problem.problem
    allowed = {"executor_network": "weave", "exclusive": True}
    request = schemas.parse_build({**body, **allowed}, policy).to_request(policy)
    assert allowed.items() <= dict(render.request(request)).items()
    schemas.parse_build({**body, "engine": "socket", "executor_network": "BRIDGE"}, policy)


@pytest.mark.parametrize(
    ("asked", "engines", "words"),
    [
        ({"engine": "socket"}, (EngineMode.NESTED, EngineMode.SOCKET), "choose another engine"),
        ({}, (EngineMode.SOCKET,), "choose another engine"),
        ({"cache_from": ["app:cache"]}, (EngineMode.NESTED,), "leave cache_from out"),
        ({"cache_to": "app:cache"}, (EngineMode.NESTED,), "leave cache_to out"),
        ({"registry_cache": True}, (EngineMode.NESTED,), "leave registry_cache out"),
    ],
)
def test_no_cache_is_none_anywhere(
    asked: dict[str, Any], engines: tuple[EngineMode, ...], words: str
) -> None:
    body = {"source": {"git": {"url": "https://host/x"}}, "images": ["app"], **asked}
    policy = RequestPolicy(engines=engines, registry_cache=True)
    schemas.parse_build(body, policy)
    with pytest.raises(InvalidInputError) as caught:
        schemas.parse_build({**body, "cache": "none"}, policy)
    (problem,) = caught.value.problems
    assert problem.field == "cache"
    assert words in problem.problem


def test_a_build_without_a_cache_has_not_the_operators_in_the_registry_either() -> None:
    policy = RequestPolicy(registry_cache=True)
    body = {"source": {"git": {"url": "https://host/x"}}, "images": ["app"]}
    for asked, kept in (({}, True), ({"cache": "none"}, False)):
        request = schemas.parse_build({**body, **asked}, policy).to_request(policy)
        assert request.recipe.registry_cache is kept
        assert (request.cache is CacheUse.SHARED) is kept


scalars = st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers()
keys = st.sampled_from([*schemas.BuildBody.model_fields, "git", "x"])


@given(
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
    )
)
def test_any_json_is_accepted_or_refused(document: Any) -> None:
    """No document makes the checks themselves fail."""
    with contextlib.suppress(InvalidInputError, strictjson.JsonError):
        parsed, problems = strictjson.parse(json.dumps(document).encode())
        schemas.parse_build(parsed, POLICY, problems)


@given(st.binary(max_size=40))
def test_any_bytes_are_accepted_or_refused(data: bytes) -> None:
    """The same for what is not even JSON."""
    with contextlib.suppress(strictjson.JsonError):
        strictjson.parse(data)


def test_duplicates_are_found_at_every_depth() -> None:
    """With the path of each."""
    _, problems = strictjson.parse(b'{"a": [{"b": 1, "b": 2}], "c": 1, "c": 1, "c": 2}')
    assert [item.field for item in problems] == ["c", "a.0.b"]


def test_a_short_password_does_not_garble_ids_and_links() -> None:
    """Only what others wrote is masked: a password `api` leaves the links usable."""
    body = {
        "source": {"git": {"url": "https://host/api", "username": "u", "password": "api"}},
        "images": ["app"],
    }
    asked = schemas.parse_build(body, POLICY).to_request(POLICY)
    assert render.request(asked)["source"]["git"]["url"] == "https://host/***"
    assert codec.timestamp(0.0004) == "1970-01-01T00:00:00.000Z"
