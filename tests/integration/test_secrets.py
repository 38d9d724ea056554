"""Passwords of a build are seen by nobody but the programs that need them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import requests

from builder_framework.redact import Redactor, Secret
from devcluster import Cluster
from tests.integration.harness import Framework, until

pytestmark = pytest.mark.integration


def endpoints(cluster: Cluster) -> dict[str, str]:
    """What master and agents tell anybody who asks."""
    calls = ["GET_STATE", "GET_TASKS", "GET_EXECUTORS", "GET_FRAMEWORKS"]
    told: dict[str, str] = {}
    for part in (cluster.master, *cluster.agents):
        for path in ("/state", "/tasks", "/frameworks"):
            answer = requests.get(f"{part.url}{path}", timeout=10)
            told[f"{part.url}{path}"] = answer.text
        for call in calls:
            answer = requests.post(f"{part.url}/api/v1", json={"type": call}, timeout=10)
            told[f"{part.url} {call}"] = answer.text
    return told


def processes() -> dict[str, str]:
    """Command lines and environments of everything on this machine, containers included."""
    seen: dict[str, str] = {}
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                seen[f"{process}/{name}"] = (process / name).read_text(errors="replace")
    return seen


def sandboxes(cluster: Cluster, build_id: str) -> dict[str, str]:
    """Every file that the build's executor left on its agent."""
    files = [
        path
        for path in cluster.config.state_dir.glob(f"agent*/**/executors/builder.{build_id}.1/**/*")
        if path.is_file() and not path.is_symlink()
    ]
    assert any(path.name == f"{build_id}.1.log" for path in files)
    return {str(path): path.read_text(errors="replace") for path in files}


def test_no_secret_shows_anywhere_while_a_build_runs_and_after(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    """A repository's own RUN steps look for them, too."""
    git_secret = cluster.git.password
    snoop = "env; cat /proc/1/environ /proc/*/cmdline; cat /root/.docker/config.json; ls -laR /run"
    dockerfile = (
        f"FROM {cluster.base_image}\nENV TEST={name}\nCOPY . /src\n"
        f"RUN ({snoop}) 2>&1; cat /src/.git/config; echo snooped; sleep 8\n"
    )
    url = cluster.git.create_repository(name, {"Dockerfile": dockerfile}, private=True)
    build_id = framework.submit(
        url, f"{name}:1", source={"username": cluster.git.username, "password": git_secret}
    )
    until(lambda: "snooped" in framework.log(build_id), "the build does not run")
    places = {**endpoints(cluster), **processes()}
    ids = cluster.engine.docker("ps", "--quiet", "--all").split()
    places["docker inspect"] = cluster.engine.docker("inspect", *ids)
    framework.succeeded(build_id)
    until(lambda: framework.get(build_id)["log"]["complete"], "the log is not complete")
    places["log"] = framework.log(build_id)
    places["API"] = json.dumps(framework.get(build_id))
    places["framework's own log"] = framework.log_file.read_text()
    places |= sandboxes(cluster, build_id)
    assert any(f"{build_id}.1" in text for place, text in places.items() if "GET_TASKS" in place)
    for secret in (git_secret, cluster.registry.password):
        redactor, plain = Redactor([Secret(secret)]), Redactor()
        shown = [where for where, text in places.items() if redactor.text(text) != plain.text(text)]
        assert shown == []
