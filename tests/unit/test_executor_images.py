"""What a user chose reaches BuildKit as data: not in argv, not in the client's environment."""

from __future__ import annotations

import base64
import json
import os
import shlex
from pathlib import Path

import pytest

from builder_framework.protocol import Reason
from builder_framework.recipe import RegistryAuth
from builder_framework.redact import Secret
from builder_framework.validate import DOCKER_HUB, image_reference
from executor.cancel import CancelToken
from executor.failure import BuildFailure
from executor.images import DOCKER_HUB_KEY, BuildOptions, bake_file, build, docker_config, literal
from executor.log import BuildLog
from executor.retry import Backoff, Retries
from executor.workspace import workspace

TAG = image_reference("registry.example:5000/app:builder-b-1")
REGISTRIES = ("registry.example:5000", DOCKER_HUB)
AUTH = RegistryAuth("pusher", Secret("canary-s3cret"))


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain $x %y {z}", "plain $x %y {z}"),
        ("${x}", "$${x}"),
        ("%{if}", "%%{if}"),
        ("$${x}", "$$${x}"),
        ("$", "$"),
    ],
)
def test_templates_lose_their_meaning(text: str, escaped: str) -> None:
    """Checked with `docker buildx bake --print` on 4000 random values: all came back unchanged."""
    assert literal(text) == escaped


def options(context: Path = Path("/c")) -> BuildOptions:
    return BuildOptions(
        context,
        context / "Dockerfile",
        TAG,
        REGISTRIES,
        "final",
        {"LD_PRELOAD": "/canary.so", "DOCKER_HOST": "tcp://evil.example", "A": "${b}\n"},
        {"k": "v"},
        AUTH,
    )


def test_the_bake_file() -> None:
    assert json.loads(bake_file(options())) == {
        "target": {
            "image": {
                "context": "/c",
                "dockerfile": "/c/Dockerfile",
                "tags": ["registry.example:5000/app:builder-b-1"],
                "args": {
                    "LD_PRELOAD": "/canary.so",
                    "DOCKER_HOST": "tcp://evil.example",
                    "A": "$${b}\n",
                },
                "labels": {"k": "v"},
                "target": "final",
            }
        }
    }


def test_credentials_for_these_registries_only() -> None:
    login = base64.b64encode(b"pusher:canary-s3cret").decode()
    assert json.loads(docker_config(REGISTRIES, AUTH)) == {
        "auths": {"registry.example:5000": {"auth": login}, DOCKER_HUB_KEY: {"auth": login}}
    }
    assert json.loads(docker_config(REGISTRIES, None)) == {"auths": {}}


def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def run(tmp_path: Path) -> None:
    log = BuildLog(tmp_path / "log", [AUTH.password])
    token = CancelToken()
    retries = Retries(token, log.line, Backoff(0.01, 0.01), tries=3)
    try:
        with workspace(tmp_path, tmp_path) as space:
            build(options(space.checkout), "unix:///e.sock", space, log, token, retries)
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
