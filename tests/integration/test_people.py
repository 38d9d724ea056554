"""Users of the API: made and removed with the command line client, checked by the real server."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from requests.auth import HTTPBasicAuth

from devcluster import Cluster
from tests.integration.conftest import PORT
from tests.integration.harness import Framework

pytestmark = pytest.mark.integration


def builder(file: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "builder_framework.cli", "users", *words]
    return subprocess.run(
        [*argv, "--users-file", str(file)], input=stdin, capture_output=True, text=True, check=False
    )


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    assert builder(file, "add", "ann", "--password-stdin", stdin="ann's pässword\n").returncode == 0
    return file


@pytest.fixture
def with_users(cluster: Cluster, tmp_path: Path, users: Path) -> Iterator[Framework]:
    running = Framework(cluster, tmp_path / "data", PORT + 3, {"BUILDER_USERS_FILE": str(users)})
    environment = running.environment()
    del environment["BUILDER_USERNAME"], environment["BUILDER_PASSWORD"]
    running.environment = lambda: environment  # type: ignore[method-assign]
    running.start()
    yield running
    running.end(signal.SIGTERM)


def status(framework: Framework, name: str, password: str) -> int:
    auth = HTTPBasicAuth(name.encode(), password.encode())
    return requests.get(f"{framework.url}/api/v1/builds", auth=auth, timeout=10).status_code


def test_users_come_and_go_while_the_server_runs(with_users: Framework, users: Path) -> None:
    assert status(with_users, "ann", "ann's pässword") == 200
    assert status(with_users, "ann", "wrong") == 401
    assert status(with_users, "bob", "bob's password") == 401
    assert (
        builder(users, "add", "bob", "--password-stdin", stdin="bob's password\n").returncode == 0
    )
    assert status(with_users, "bob", "bob's password") == 200
    assert builder(users, "remove", "ann").returncode == 0
    assert status(with_users, "ann", "ann's pässword") == 401
    assert builder(users, "list").stdout.split() == ["bob", "builder"]
    assert "password" not in users.read_text()
    assert users.stat().st_mode & 0o077 == 0


def test_a_build_belongs_to_who_asked_for_it(
    with_users: Framework, cluster: Cluster, name: str
) -> None:
    body = with_users.body(cluster.git.clone_url("app"), f"{name}:1", queue_ttl=60)
    body["resources"] = {"cpus": 64, "mem": 64}
    auth = (b"ann", "ann's pässword".encode())
    made = with_users.call("POST", "/api/v1/builds", json=body, auth=auth).json()
    assert made["owner"] == "ann"
    ended = with_users.call("POST", f"/api/v1/builds/{made['id']}/cancel", auth=auth).json()
    assert ended["message"] == "cancelled by ann"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"BUILDER_USERS_FILE": "/nowhere/users"}, "/nowhere/users"),
        ({"BUILDER_HTTP_HOST": "0.0.0.0", "BUILDER_BEHIND_TLS_PROXY": "false"}, "TLS"),
        ({"BUILDER_MESOS_MASTER": "master"}, "host:port"),
    ],
)
def test_a_server_that_is_set_up_wrongly_says_so_and_does_not_start(
    cluster: Cluster, tmp_path: Path, change: dict[str, str], complaint: str
) -> None:
    environment = Framework(cluster, tmp_path, PORT + 4).environment() | change
    if "BUILDER_USERS_FILE" in change:
        del environment["BUILDER_USERNAME"], environment["BUILDER_PASSWORD"]
    done = subprocess.run(
        [sys.executable, "-m", "builder_framework.cli", "serve"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 78
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
