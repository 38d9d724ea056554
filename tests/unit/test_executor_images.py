"""What a user chose reaches BuildKit as data: not in argv, not in the client's environment."""

from __future__ import annotations

import base64
import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from builder_framework.protocol import Reason
from builder_framework.recipe import Recipe, RegistryAuth
from builder_framework.redact import Secret
from builder_framework.validate import DOCKER_HUB, image_reference
from executor.bake import Build
from executor.cancel import CancelToken
from executor.failure import BuildFailure
from executor.images import DOCKER_HUB_KEY, docker_config, mount_files, run_build
from executor.log import BuildLog
from executor.retry import Backoff, Retries
from executor.workspace import workspace

TAG = image_reference("registry.example:5000/app:builder-b-1")
REGISTRIES = ("registry.example:5000", DOCKER_HUB)
AUTH = RegistryAuth("pusher", Secret("canary-s3cret"))
ARGUMENTS = {"LD_PRELOAD": "/canary.so", "DOCKER_HOST": "tcp://evil.example", "A": "${b}\n"}


def build_of(context: Path = Path("/c"), **recipe: Any) -> Build:
    given = {"target": "final", "build_args": ARGUMENTS, **recipe}
    return Build(context, context / "Dockerfile", TAG, Recipe(**given), labels={"k": "v"})


def test_credentials_for_these_registries_only() -> None:
    login = base64.b64encode(b"pusher:canary-s3cret").decode()
    assert json.loads(docker_config(dict.fromkeys(REGISTRIES, AUTH))) == {
        "auths": {"registry.example:5000": {"auth": login}, DOCKER_HUB_KEY: {"auth": login}}
    }
    assert json.loads(docker_config({})) == {"auths": {}}


def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def run(tmp_path: Path, **recipe: Any) -> None:
    log = BuildLog(tmp_path / "log", [AUTH.password])
    token = CancelToken()
    retries = Retries(token, log.line, Backoff(0.01, 0.01), tries=3)
    try:
        with workspace(tmp_path, tmp_path) as space:
            what = build_of(space.checkout, **recipe)
            logins = dict.fromkeys(REGISTRIES, AUTH)
            run_build(what, logins, "unix:///e.sock", space, log, token, retries)
    finally:
        log.close()


def test_nothing_chosen_is_in_argv_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = shlex.quote(str(tmp_path / "seen"))
    fake_docker(
        tmp_path,
        monkeypatch,
        f'echo "$@" > {seen}; env >> {seen}; cat "$DOCKER_CONFIG/config.json" > {seen}.config',
    )
    run(tmp_path)
    text = (tmp_path / "seen").read_text()
    for word in ("canary", "evil", "final", "app:1", "LD_PRELOAD", AUTH.password.reveal()):
        assert word not in text
    assert "DOCKER_HOST=unix:///e.sock" in text
    assert json.loads((tmp_path / "seen.config").read_text())["auths"]


def test_a_failed_build_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_docker(
        tmp_path,
        monkeypatch,
        "echo '#7 [2/2] RUN echo canary-s3cret'\n"
        "echo '#7 ERROR: process \"x\" did not complete successfully: exit code: 9' >&2; exit 1",
    )
    with pytest.raises(BuildFailure) as caught:
        run(tmp_path)
    assert caught.value.reason is Reason.STEP_FAILED
    assert caught.value.message == "[2/2] RUN echo ***: exit code: 9"
    assert "canary" not in (tmp_path / "log").read_text()


LOST = """\
echo run >> {runs}
[ $(wc -l < {runs}) -gt 1 ] && exit 0
echo '#3 exporting to image'
echo '#3 ERROR: failed to prepare extraction snapshot "x": parent snapshot y does not exist'
exit 1
"""


def test_an_export_that_lost_its_parent_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """https://github.com/moby/buildkit/issues/6521"""
    file = tmp_path / "runs"
    fake_docker(tmp_path, monkeypatch, LOST.format(runs=shlex.quote(str(file))))
    run(tmp_path)
    assert len(file.read_text().splitlines()) == 2


BASE_IMAGE = """\
echo run >> {runs}
[ $(wc -l < {runs}) -gt {failures} ] && exit 0
echo '#3 [1/2] FROM registry.example/base:1'
echo '#3 ERROR: unexpected status from HEAD request to https://x/: {status}'
exit 1
"""


@pytest.mark.parametrize(
    ("status", "failures", "runs"),
    [
        ("503 Service Unavailable", 2, 3),
        ("429 Too Many Requests", 1, 2),
        ("503 Service Unavailable", 9, 3),
        ("404 Not Found", 9, 1),
        ("401 Unauthorized", 9, 1),
    ],
)
def test_a_base_image_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, failures: int, runs: int
) -> None:
    file = tmp_path / "runs"
    script = BASE_IMAGE.format(runs=shlex.quote(str(file)), failures=failures, status=status)
    fake_docker(tmp_path, monkeypatch, script)
    if failures < 3:
        run(tmp_path)
    else:
        with pytest.raises(BuildFailure) as caught:
            run(tmp_path)
        assert caught.value.reason is Reason.BASE_IMAGE_FAILED
        assert caught.value.transient is (runs == 3)
    assert len(file.read_text().splitlines()) == runs


def test_a_failed_step_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it printed."""
    fake_docker(
        tmp_path,
        monkeypatch,
        f"echo run >> {shlex.quote(str(tmp_path / 'runs'))}\n"
        "echo '#7 [2/2] RUN curl x'\necho '#7 0.1 503 Service Unavailable, connection reset'\n"
        "echo '#7 ERROR: process \"curl x\" did not complete successfully: exit code: 22'; exit 1",
    )
    with pytest.raises(BuildFailure) as caught:
        run(tmp_path)
    assert (caught.value.reason, caught.value.transient) == (Reason.STEP_FAILED, False)
    assert (tmp_path / "runs").read_text() == "run\n"


def test_what_bake_cannot_say_is_said_in_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it reaches the client's environment."""
    seen = shlex.quote(str(tmp_path / "seen"))
    fake_docker(tmp_path, monkeypatch, f'echo "$@" > {seen}; env > {seen}.env')
    run(tmp_path, add_hosts={"db.example": "10.0.0.1"})
    assert "--add-host=db.example:10.0.0.1 --network=default -- " in (tmp_path / "seen").read_text()
    assert "canary" not in (tmp_path / "seen.env").read_text()


def test_mounts_are_files_that_nobody_else_reads(tmp_path: Path) -> None:
    with workspace(tmp_path, tmp_path) as space:
        files = mount_files({"a": Secret("one\n"), "b": Secret("two")}, "secret", space)
        assert {name: path.read_text() for name, path in files.items()} == {
            "a": "one\n",
            "b": "two",
        }
        assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
        assert {path.parent for path in files.values()} == {space.secrets}
