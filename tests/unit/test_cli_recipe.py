"""Flags of `submit` about Dockerfile, image and caches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder_framework.domain.apps import MarathonDeploy
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from tests.unit.builds_double import MemoryBuilds
from tests.unit.commands import GIT, Run, only_build

pytest_plugins = ("tests.unit.conftest_cli",)

KEY = "-----BEGIN PRIVATE KEY-----\nQUJD\n-----END PRIVATE KEY-----\n"


def test_every_flag_becomes_its_field(
    run: Run, builds: MemoryBuilds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values of secrets by file and environment, never as arguments."""
    monkeypatch.setenv("NPM_TOKEN", "npmcanary")
    (tmp_path / "pip").write_text("pipcanary\n")
    (tmp_path / "key").write_text(KEY)
    result = run(
        "submit", *GIT,
        "--secret", "id=npm,env=NPM_TOKEN", "--secret", f"id=pip,src={tmp_path}/pip",
        "--ssh", f"{tmp_path}/key", "--add-host", "db:fe80::1", "--platform", "linux/amd64",
        "--platform", "linux/arm64", "--image-label", "a=b", "--annotation", "c=d=e",
        "--cache-from", "r.example/a:c", "--cache-to", "r.example/b:c", "--registry-cache",
        "--no-cache", "--pull", "--sbom", "--shm-size", "64", "--network", "none",
        "--timestamp", "source", "--provenance", "max", "--no-standard-labels",
        "--supersede", "running", "--group", "g", "--executor-network", "BRIDGE", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    recipe = builds.get(only_build(builds)).build.request.recipe
    assert recipe.secrets == {"npm": Secret("npmcanary"), "pip": Secret("pipcanary")}
    assert recipe.ssh == {"default": Secret(KEY)}
    shown = json.loads(result.stdout)
    expected = {
        "secrets": {"npm": "***", "pip": "***"},
        "ssh": {"default": "***"},
        "add_hosts": {"db": "fe80::1"},
        "platforms": ["linux/amd64", "linux/arm64"],
        "image_labels": {"a": "b"},
        "annotations": {"c": "d=e"},
        "cache_from": ["r.example/a:c"],
        "cache_to": "r.example/b:c",
        "registry_cache": True,
        "no_cache": True,
        "pull": True,
        "sbom": True,
        "shm_size": 64,
        "network": "none",
        "timestamp": "source",
        "provenance": "max",
        "standard_labels": False,
        "supersede": "running",
        "group": "g",
        "executor_network": "BRIDGE",
    }
    assert {name: shown[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--secret", "npm", "id=ID,src=FILE"),
        ("--secret", "id=npm", "id=ID,src=FILE"),
        ("--secret", "id=npm,src=a,env=b", "id=ID,src=FILE"),
        ("--secret", "id=npm,value=canary", "id=ID,src=FILE"),
        ("--secret", "id=npm,env=NOT_THERE", "NOT_THERE is not set"),
        ("--secret", "id=npm,src=/not/there", "No such file"),
        ("--ssh", "/not/there", "No such file"),
        ("--add-host", "db", "NAME:IP"),
    ],
)
def test_flags_that_make_no_sense(run: Run, flag: str, value: str, words: str) -> None:
    result = run("submit", *GIT, flag, value)
    assert result.exit_code == 2
    assert words in result.stderr


class TestDeploy:
    @pytest.fixture
    def policy(self) -> RequestPolicy:
        return RequestPolicy(marathon=True, marathon_apps=("/",))

    def test_its_flags(self, run: Run, builds: MemoryBuilds) -> None:
        result = run("submit", *GIT, "--deploy", "/shop/web", "--deploy-timeout", "5m")
        assert result.exit_code == 0, result.stderr
        request = builds.get(only_build(builds)).build.request
        assert request.deploy == MarathonDeploy("/shop/web", 300.0)

    def test_a_time_needs_an_app(self, run: Run) -> None:
        result = run("submit", *GIT, "--deploy-timeout", "5m")
        assert result.exit_code == 2
        assert "deploy.marathon.app: is required" in result.stderr
