"""The Ansible role hands Marathon an app that is a valid configuration, and waits for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from builder_framework import config
from tests.unit.marathon import Marathon, serving

ROOT = Path(__file__).parents[2]
PLAYBOOK = ROOT / "deploy" / "ansible" / "playbook.yml"
APP = "/builder-framework"
SETTINGS: dict[str, Any] = {
    "builder_image": "registry.example.org/builder-framework:1",
    "builder_executor_image": "registry.example.org/builder-executor:1",
    "builder_mesos_master": "leader.mesos:5050",
    "builder_vhost": "builder.example.org",
    "builder_database_url": "postgresql://builder:canary@db.example.org/builder",
    "builder_secret_key": "ab" * 32,
    "builder_instances": 2,
    "builder_delay": 0,
}


def play(marathon: Marathon, tmp_path: Path, **changes: Any) -> subprocess.CompletedProcess[str]:
    told = {k: v for k, v in {**SETTINGS, **changes}.items() if v is not None}
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({**told, "builder_marathon_url": marathon.url}))
    program = Path(sys.executable).with_name("ansible-playbook")
    return subprocess.run(
        [program, PLAYBOOK, "-e", f"@{file}", "-i", "localhost,"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_deploys_and_waits(tmp_path: Path) -> None:
    """Also when another deployment is in the way at first; no password is in what it prints."""
    with serving(Marathon(locked=1, takes=2, login=("ops", "secret-of-marathon"))) as marathon:
        done = play(
            marathon,
            tmp_path,
            builder_marathon_username="ops",
            builder_marathon_password="secret-of-marathon",
            builder_environment={"BUILDER_GIT_PROTOCOLS": "https"},
        )
    assert done.returncode == 0, done.stdout + done.stderr
    app = marathon.apps[APP]
    assert config.load(app["env"]).git_protocols == ("https",)
    assert app["instances"] == 2
    assert app["constraints"] == [["hostname", "UNIQUE"]]
    for secret in ("canary", "secret-of-marathon", "ab" * 32):
        assert secret not in done.stdout + done.stderr


def test_a_deployment_that_is_not_healthy_fails(tmp_path: Path) -> None:
    with serving(Marathon(takes=0, healthy=False)) as marathon:
        assert play(marathon, tmp_path).returncode != 0


def test_sqlite_and_several_instances_do_not_go_together(tmp_path: Path) -> None:
    with serving(Marathon()) as marathon:
        done = play(marathon, tmp_path, builder_home="node-1")
        assert done.returncode != 0
        assert "builder db key" in done.stdout
        assert marathon.apps == {}


@pytest.mark.parametrize("name", ["builder_image", "builder_vhost"])
def test_what_is_missing_is_named(tmp_path: Path, name: str) -> None:
    with serving(Marathon()) as marathon:
        done = play(marathon, tmp_path, **{name: None})
    assert done.returncode != 0
    assert name in done.stdout


def test_the_app_is_the_one_of_marathon_json(tmp_path: Path) -> None:
    """With one home and SQLite; both are the same but for names."""
    written = json.loads((ROOT / "marathon.json").read_text())
    env, image = written["env"], written["container"]["docker"]["image"]
    with serving(Marathon(takes=0)) as marathon:
        done = play(
            marathon,
            tmp_path,
            builder_database_url=None,
            builder_secret_key=None,
            builder_instances=1,
            builder_home="builder-home.example.org",
            builder_image=image,
            builder_executor_image=env["BUILDER_EXECUTOR_IMAGE"],
            builder_only_deploy=True,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    made = marathon.apps[APP]
    assert made.pop("id") == written.pop("id")
    assert written["container"]["docker"].pop("forcePullImage") is False
    assert made == written
