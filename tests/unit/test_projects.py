"""What belongs to a project is built in it alone, and within its limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from builder_framework.domain.access import Actor, Role
from builder_framework.domain.model import BuildRequest, Resources
from builder_framework.domain.projects import (
    Catalog,
    Credential,
    GitCredential,
    Project,
    Quota,
    begins,
    equipped,
    is_project_name,
    refusals,
)
from builder_framework.protocol import EngineMode
from builder_framework.recipe import (
    GitLogin,
    GitSource,
    InlineSource,
    Recipe,
    RegistryAuth,
    RegistryLogin,
    Source,
    TaskSource,
)
from builder_framework.redact import Secret

pytestmark = pytest.mark.domain

SHOP = Project(
    "shop",
    repositories=("https://git.example.org/shop/",),
    images=("r.example.org/shop",),
)
CART = Project("cart", images=("r.example.org/shop/cart",))
FREE = Project("free")
ALL = Catalog([SHOP, CART, FREE])
REQUEST = BuildRequest(
    Source(git=GitSource("https://git.example.org/shop/web.git", "main")),
    ("r.example.org/shop/web:1",),
    600.0,
    600.0,
    Resources(1.0, 512.0),
    project="shop",
)
MEMBER = Actor("ann", Role.NONE, {"shop": Role.BUILDER, "free": Role.BUILDER})


def wrong(actor: Actor = MEMBER, catalog: Catalog = ALL, **changes: Any) -> dict[str, str]:
    found = refusals(replace(REQUEST, **changes), actor, catalog, changes.pop("waiting", 0))
    return {each.field: each.problem for each in found}


def task(image: str) -> Source:
    return Source(task=TaskSource(image))


def git(url: str) -> Source:
    return Source(git=GitSource(url))


@pytest.mark.parametrize(
    ("prefix", "text", "does"),
    [
        ("r.example.org/shop", "r.example.org/shop", True),
        ("r.example.org/shop", "r.example.org/shop/web", True),
        ("r.example.org/shop", "r.example.org/shopping", False),
        ("r.example.org/shop/", "r.example.org/shop", False),
        ("https://git.example.org/shop", "https://git.example.org/shop.git", True),
        ("git@git.example.org", "git@git.example.org:shop/web.git", True),
        ("git@git.example.org:", "git@git.example.org:shop/web.git", True),
        ("git@git.example.org", "git@git.example.org.evil.org:x", False),
        ("https://git.example.org", "https://git.example.org/x", True),
        ("https://git.example.org", "https://git.example.org.evil.org/x", False),
        ("https://git.example.org", "https://git.example.org:8443/x", False),
        ("r.example.org", "r.example.org:5000/x", False),
    ],
)
def test_beginnings_end_at_a_boundary(prefix: str, text: str, does: bool) -> None:
    assert begins(prefix, text) is does


def test_a_member_builds_what_is_the_projects() -> None:
    assert wrong() == {}


def test_whoever_is_no_member_learns_nothing_of_a_project() -> None:
    """Whether it is there or not, in the same words."""
    stranger = Actor("eve", Role.NONE, {"free": Role.BUILDER})
    secret, missing = (wrong(stranger, project=name)["project"] for name in ("shop", "nothing"))
    assert secret == missing == "there is no such project, or you are not in it"
    assert "project" in wrong(Actor("root", Role.ADMIN), project="nothing")


def test_who_may_only_look_builds_nothing() -> None:
    looks = Actor("ann", Role.NONE, {"shop": Role.VIEWER})
    assert (
        wrong(looks)["project"]
        == "you may not build in project 'shop': that needs the role builder"
    )
    free: dict[str, Any] = {
        "project": None,
        "source": git("https://x.org/y"),
        "images": ("x.org/y",),
    }
    assert "outside of all projects" in wrong(MEMBER, **free)["project"]
    assert wrong(Actor("bob", Role.BUILDER), **free) == {}


def test_what_is_a_projects_is_nobody_elses() -> None:
    bob = Actor("bob", Role.BUILDER)
    assert wrong(bob, project=None) == {
        "source.git.url": "belongs to project 'shop': say project",
        "images.0": "belongs to project 'shop': say project",
    }
    assert set(wrong(project="free")) == {"source.git.url", "images.0"}


def test_a_project_that_owns_something_builds_nothing_else() -> None:
    found = wrong(source=git("https://x.org/y"), images=("r.example.org/shop/web", "x.org/y"))
    assert found == {
        "source.git.url": "is no repository of project 'shop'",
        "images.1": "is no image of project 'shop': r.example.org/shop",
    }
    inline = Source(inline=InlineSource("FROM scratch"))
    assert wrong(source=inline) == {}, "a Dockerfile that comes with the request is no repository"
    anything: dict[str, Any] = {"source": git("https://x.org/y"), "images": ("x.org/y",)}
    assert wrong(project="free", **anything) == {}, "it owns nothing"


def test_the_longest_beginning_tells_the_owner() -> None:
    assert wrong(images=("r.example.org/shop/cart:2",)) == {
        "images.0": "belongs to project 'cart': say project"
    }


@pytest.mark.parametrize(
    ("changes", "project"),
    [
        ({}, "shop"),
        ({"project": "free"}, "free"),
        ({"source": git("https://x.org/y")}, "shop"),
        ({"source": git("https://x.org/y"), "images": ("x.org/y",)}, None),
        ({"images": ("r.example.org/shop/cart",)}, None),
        ({"images": (), "source": task("r.example.org/shop/tool:1")}, "shop"),
        ({"images": (), "source": task(f"r.example.org/shop/tool@sha256:{'0' * 64}")}, "shop"),
        ({"images": (), "source": task("docker.io/library/busybox:1")}, None),
    ],
)
def test_a_project_need_not_be_said_where_there_is_but_one(
    changes: dict[str, Any], project: str | None
) -> None:
    request = replace(REQUEST, **{"project": None, **changes})
    assert ALL.project_of(request) == project


@pytest.mark.parametrize(
    ("quota", "changes", "field"),
    [
        (Quota(max_cpus=0.5), {}, "resources.cpus"),
        (Quota(max_mem=256), {}, "resources.mem"),
        (Quota(max_disk=1), {"resources": Resources(1, 1, 2)}, "resources.disk"),
        (Quota(max_timeout=60), {}, "timeout"),
        (Quota(max_priority=0), {"priority": 1}, "priority"),
        (Quota(engines=(EngineMode.NESTED,)), {"engine": EngineMode.SOCKET}, "engine"),
        (Quota(networks=()), {"executor_network": "weave"}, "executor_network"),
        (Quota(programs=False), {"recipe": Recipe(hooks=True)}, "hooks"),
        (Quota(programs=False), {"recipe": Recipe(tests=True)}, "hooks"),
        (Quota(max_waiting=2), {"waiting": 2}, "project"),
    ],
)
def test_limits(quota: Quota, changes: dict[str, Any], field: str) -> None:
    waiting = changes.pop("waiting", 0)
    request = replace(REQUEST, **changes)
    limited = Catalog([replace(SHOP, quota=quota)])
    assert [each.field for each in refusals(request, MEMBER, limited, waiting)] == [field]
    assert refusals(request, MEMBER, ALL, waiting) == []


def login(registry: str, password: str) -> RegistryLogin:
    return RegistryLogin(registry, RegistryAuth("ci", Secret(password)))


def test_logins_of_the_project_are_for_where_the_request_has_none() -> None:
    mine = replace(REQUEST, registry_auth=RegistryAuth("me", Secret("mine")))
    kept = {"hub": login("docker.io", "hub"), "own": login("r.example.org", "ours")}
    changed, problems = equipped(mine, kept)
    assert problems == []
    push = changed.logins().to_push("r.example.org")
    assert push is not None
    assert push.password.reveal() == "mine"
    assert changed.logins().to_pull()["docker.io"].password.reveal() == "hub"
    changed, _ = equipped(REQUEST, kept)
    push = changed.logins().to_push("r.example.org")
    assert push is not None
    assert push.password.reveal() == "ours"


def test_logins_for_git_servers() -> None:
    kept = {
        "git": GitCredential(GitLogin("git.example.org", "ci", Secret("token"))),
        "ssh": GitCredential(GitLogin("ssh.example.org", ssh_key=Secret("key")), "ssh KEY\n"),
    }
    changed, _ = equipped(REQUEST, kept)
    assert changed.source.git is not None
    assert [each.host for each in changed.source.git.logins] == [
        "git.example.org",
        "ssh.example.org",
    ]
    assert changed.source.git.known_hosts == "ssh KEY\n"
    own = GitSource("https://x.org/y", logins=(GitLogin("git.example.org"),), known_hosts="mine")
    changed, _ = equipped(replace(REQUEST, source=Source(git=own)), kept)
    assert changed.source.git is not None
    assert [each.password for each in changed.source.git.logins] == [None, None]
    assert changed.source.git.known_hosts == "mine"
    inline = replace(REQUEST, source=Source(inline=InlineSource("FROM scratch")))
    assert equipped(inline, kept)[0].source == inline.source


def test_secrets_are_named() -> None:
    """Those that are not are given to nobody."""
    kept: dict[str, Credential] = {
        "npm": Secret("value"),
        "other": Secret("x"),
        "hub": login("docker.io", "hub"),
    }
    asked = replace(REQUEST, project_secrets={"token": "npm", "a": "nothing", "b": "hub"})
    changed, problems = equipped(asked, kept)
    assert changed.recipe.secrets == {"token": Secret("value")}
    assert {each.field: each.problem for each in problems} == {
        "project_secrets.a": "the project has no secret 'nothing'",
        "project_secrets.b": "the project has no secret 'hub'",
    }


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("shop", True),
        ("shop-2", True),
        ("", False),
        ("Shop", False),
        ("-shop", False),
        ("a.b", False),
    ],
)
def test_a_project_is_called_as_a_host_may_be(name: str, allowed: bool) -> None:
    assert is_project_name(name) is allowed
