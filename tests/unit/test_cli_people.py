"""Tokens and projects from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from api import create_app
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from builder_framework.store.projects import SqlProjects
from builder_framework.store.sql import SqlStore
from builder_framework.store.tokens import SqlTokens
from builder_framework.users import SingleUser
from tests.sealing import SEALER
from tests.unit.builds_double import PASSWORD, USER, MemoryBuilds
from tests.unit.commands import Run

pytest_plugins = ("tests.unit.conftest_cli",)


@pytest.fixture
def app(builds: MemoryBuilds, tmp_path: Path) -> Iterator[Flask]:
    store = SqlStore(f"sqlite:///{tmp_path / 'builder.db'}", SEALER)
    user = SingleUser(USER, Secret(PASSWORD))
    people = People(user, SqlProjects(store, SEALER), SqlTokens(store))
    yield create_app(builds, people, RequestPolicy())
    store.close()


def test_a_token_from_making_to_revoking(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run("token", "create", "ci", "--role", "viewer", "--days", "30")
    assert made.exit_code == 0
    text = made.stdout.strip()
    with monkeypatch.context() as as_program:
        as_program.setenv("BUILDER_PASSWORD", text)
        assert run("whoami").stdout.splitlines() == [USER, "WHERE\tROLE", "everywhere\tviewer"]
    listed = run("token", "list").stdout.splitlines()
    token_id, *rest = listed[1].split("\t")
    assert rest[:4] == [USER, "ci", "viewer", "-"]
    assert text not in "".join(listed)
    assert run("token", "revoke", token_id).exit_code == 0
    assert run("token", "revoke", token_id).exit_code == 5
    monkeypatch.setenv("BUILDER_PASSWORD", text)
    assert run("whoami").exit_code == 4
    assert json.loads(run("whoami", "--json").stdout or "null") is None


def test_a_project_with_its_people_and_credentials(run: Run, tmp_path: Path) -> None:
    put = run("project", "put", "shop", "--image", "r.example.org/shop", "--max-running", "3")
    assert put.exit_code == 0
    assert run("project", "member", "shop", "bob", "builder").exit_code == 0
    shown = json.loads(run("project", "show", "shop").stdout)
    assert shown["members"] == {"bob": "builder"}
    assert shown["quota"]["max_running"] == 3
    assert run("project", "list").stdout.splitlines()[1] == "shop\tr.example.org/shop\t"

    key = tmp_path / "key"
    key.write_text("no key at all")
    for arguments, stdin in (
        (("hub", "--registry", "docker.io", "--user", "ci"), "canary\n"),
        (("git", "--git", "git.example.org", "--user", "ci"), "canary\n"),
        (("npm",), "canary\n"),
    ):
        assert run("project", "set-credential", "shop", *arguments, stdin=stdin).exit_code == 0
    bad = run("project", "set-credential", "shop", "x", "--git", "h.org", "--ssh-key", str(key))
    assert bad.exit_code == 2
    assert "git.ssh_key" in bad.stderr
    listed = run("project", "credentials", "shop").stdout
    assert "canary" not in listed
    assert [line.split("\t") for line in listed.splitlines()[1:]] == [
        ["git", "git", "git.example.org"],
        ["hub", "registry", "docker.io"],
        ["npm", "secret", "-"],
    ]
    assert run("project", "remove-credential", "shop", "npm").exit_code == 0
    assert run("project", "remove-member", "shop", "bob").exit_code == 0
    assert json.loads(run("project", "show", "shop").stdout)["members"] == {}


def test_a_project_from_a_file(run: Run) -> None:
    spec = '{"quota": {"engines": ["rootless"]}}'
    assert run("project", "put", "lab", "--file", "-", stdin=spec).exit_code == 0
    assert json.loads(run("project", "show", "lab").stdout)["quota"]["engines"] == ["rootless"]
    assert run("project", "put", "lab", "--file", "-", stdin="[").exit_code == 2
    assert run("project", "put", "lab", "--file", "-", stdin="[]").exit_code == 2
    assert run("project", "remove", "lab").exit_code == 0
    assert run("project", "show", "lab").exit_code == 5
