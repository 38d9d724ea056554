"""Projects, their members and what opens their doors, in either database."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from builder_framework.domain.access import Role
from builder_framework.domain.projects import Credential, GitCredential, Project, Quota
from builder_framework.errors import ConflictError, NotFoundError
from builder_framework.people import TokenWish, new_token
from builder_framework.protocol import EngineMode
from builder_framework.recipe import GitLogin, RegistryAuth, RegistryLogin
from builder_framework.redact import Secret
from builder_framework.store import tables as t
from builder_framework.store.projects import SqlProjects
from builder_framework.store.sql import SqlStore
from builder_framework.store.tokens import SqlTokens
from tests.sealing import SEALER

SHOP = Project(
    "shop",
    "What is sold",
    ("https://git.example.org/shop/",),
    ("r.example.org/shop",),
    Quota(max_running=2, engines=(EngineMode.NESTED,)),
)
CANARY = "canary-of-credentials"


@pytest.fixture
def projects(store: SqlStore) -> SqlProjects:
    return SqlProjects(store, SEALER)


def test_a_project_is_made_and_changed(projects: SqlProjects) -> None:
    assert projects.put(SHOP) is True
    assert projects.all().get("shop") == SHOP
    assert projects.put(Project("shop", "else")) is False
    assert projects.all().get("shop") == Project("shop", "else")


def test_members(projects: SqlProjects) -> None:
    projects.put(SHOP)
    projects.put(Project("lab"))
    projects.put_member("shop", "ann", Role.BUILDER)
    projects.put_member("lab", "ann", Role.VIEWER)
    projects.put_member("shop", "bob", Role.ADMIN)
    projects.put_member("shop", "ann", Role.OPERATOR)
    assert projects.members("shop") == {"ann": Role.OPERATOR, "bob": Role.ADMIN}
    assert projects.roles_of("ann") == {"shop": Role.OPERATOR, "lab": Role.VIEWER}
    projects.put_member("shop", "ann", Role.NONE)
    assert projects.roles_of("ann") == {"lab": Role.VIEWER}


def test_credentials_come_back_and_stand_nowhere_in_clear(
    projects: SqlProjects, store: SqlStore
) -> None:
    projects.put(SHOP)
    kept: dict[str, Credential] = {
        "git": GitCredential(GitLogin("git.example.org", "ci", Secret(CANARY)), "host KEY\n"),
        "hub": RegistryLogin("docker.io", RegistryAuth("ci", Secret(CANARY))),
        "npm": Secret(CANARY),
    }
    for name, value in kept.items():
        projects.put_credential("shop", name, Secret("before"))
        projects.put_credential("shop", name, value)
    assert projects.credentials("shop") == kept
    with store.reading() as connection:
        rows = [str(row) for row in connection.execute(sa.select(t.credentials))]
    assert len(rows) == 3
    assert not any(CANARY in row or "git.example.org" in row for row in rows)
    projects.remove_credential("shop", "npm")
    assert set(projects.credentials("shop")) == {"git", "hub"}
    with pytest.raises(NotFoundError):
        projects.remove_credential("shop", "npm")


def test_a_project_goes_with_all_that_is_its(projects: SqlProjects) -> None:
    projects.put(SHOP)
    projects.put_member("shop", "ann", Role.BUILDER)
    projects.put_credential("shop", "npm", Secret("x"))
    projects.remove("shop")
    assert projects.all().get("shop") is None
    assert projects.roles_of("ann") == {}
    projects.put(SHOP)
    assert projects.credentials("shop") == {}
    assert projects.members("shop") == {}


def test_what_is_not_there(projects: SqlProjects) -> None:
    for call in (projects.members, projects.credentials, projects.remove):
        with pytest.raises(NotFoundError):
            call("nothing")
    with pytest.raises(NotFoundError):
        projects.put_member("nothing", "ann", Role.ADMIN)
    with pytest.raises(NotFoundError):
        projects.put_credential("nothing", "x", Secret("x"))


def test_tokens_of_one_name_or_none(store: SqlStore) -> None:
    tokens = SqlTokens(store)
    token, _ = new_token("ann", TokenWish("ci", Role.BUILDER, "shop", 9e9), 1000.0)
    tokens.create(token)
    assert tokens.find(token.id) == token
    with pytest.raises(ConflictError):
        tokens.create(new_token("ann", TokenWish("ci", Role.VIEWER), 1000.0)[0])
    tokens.create(new_token("bob", TokenWish("ci", Role.VIEWER), 1000.0)[0])
    assert [each.owner for each in tokens.list()] != []
    assert [each.id for each in tokens.list("ann")] == [token.id]
    with pytest.raises(NotFoundError):
        tokens.revoke(token.id, "bob")
    tokens.revoke(token.id, "ann")
    assert tokens.find(token.id) is None
