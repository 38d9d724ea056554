"""What a user chose reaches BuildKit as data: not in argv, not in the client's environment."""

from __future__ import annotations

import base64
import json
import os
import shlex
from pathlib import Path

import pytest

from builder_framework.protocol import Reason, RegistryAuth
from builder_framework.redact import Secret
from builder_framework.validate import image_reference
from executor.cancel import CancelToken
from executor.failure import BuildFailure
from executor.images import DOCKER_HUB_KEY, BuildOptions, bake_file, build, docker_config, literal
from executor.log import BuildLog
from executor.workspace import workspace

IMAGES = (image_reference("registry.example:5000/app:1"), image_reference("org/app:2"))
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
        IMAGES,
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
                "tags": ["registry.example:5000/app:1", "docker.io/org/app:2"],
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
    assert json.loads(docker_config(IMAGES, AUTH)) == {
        "auths": {"registry.example:5000": {"auth": login}, DOCKER_HUB_KEY: {"auth": login}}
    }
    assert json.loads(docker_config(IMAGES, None)) == {"auths": {}}


def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def run(tmp_path: Path) -> str | None:
    log = BuildLog(tmp_path / "log", [AUTH.password])
    try:
        with workspace(tmp_path, tmp_path) as space:
            return build(options(space.checkout), "unix:///e.sock", space, log, CancelToken())
    finally:
        log.close()


def test_nothing_chosen_is_in_argv_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = shlex.quote(str(tmp_path / "seen"))
    fake_docker(
        tmp_path,
        monkeypatch,
        f'echo "$@" > {seen}; env >> {seen}; cat "$DOCKER_CONFIG/config.json" > {seen}.config\n'
        'for a in "$@"; do case $a in --metadata-file=*)\n'
        """echo '{"image": {"containerimage.digest": "sha256:1"}}' > "${a#*=}";; esac; done""",
    )
    assert run(tmp_path) == "sha256:1"
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


def test_a_build_without_metadata_has_no_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_docker(tmp_path, monkeypatch, "exit 0")
    assert run(tmp_path) is None
