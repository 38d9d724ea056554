"""Sources that are not git, through the real cluster: what is asked for is what is in the image."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster import Cluster
from tests.endurance.failovers import Pair
from tests.golden.conftest import Golden
from tests.golden.test_lived import container_of, executor_of
from tests.integration.harness import Framework, pull
from tests.integration.test_high_availability import pair

__all__ = ["pair"]

PORT = 8198


@pytest.fixture
def served(cluster: Cluster, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A URL that executors reach, and the directory behind it."""
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer((cluster.address, 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://{cluster.address}:{server.server_port}", tmp_path
    server.shutdown()
    server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def archive(**files: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"project-1.0/{name.replace('__', '/')}")
            info.size, info.mtime = len(text), 1_700_000_000
            tar.addfile(info, io.BytesIO(text.encode()))
    return file.getvalue()


def submit(golden: Golden, source: dict[str, Any], **fields: Any) -> str:
    body = golden.framework.body("", f"{golden.name}:1", **fields)
    answer = golden.framework.call("POST", "/api/v1/builds", json={**body, "source": source})
    assert answer.status_code == 202, answer.text
    build_id: str = answer.json()["id"]
    return build_id


def test_an_archive_at_a_url(golden: Golden, served: tuple[str, Path]) -> None:
    """Its checksum is checked, the leading directory cut off, and a part of it the context."""
    url, folder = served
    dockerfile = f"FROM {golden.cluster.base_image}\nCOPY data /data\n"
    content = archive(web__Dockerfile=dockerfile, web__data="from the archive", other="x")
    (folder / "project.tar.gz").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    tarball = {"url": f"{url}/project.tar.gz", "strip_components": 1, "sha256": digest}
    build = golden.framework.succeeded(submit(golden, {"tarball": tarball}, context="web"))
    image = pull(golden.cluster, golden.name, "1")
    assert image.files["data"] == b"from the archive"
    result = build["result"]
    assert (result["source_digest"], result["commit"]) == (f"sha256:{digest}", None)
    labels = image.config["config"]["Labels"]
    assert labels["org.opencontainers.image.source"] == f"{url}/project.tar.gz"
    assert labels["org.opencontainers.image.created"] == "2023-11-14T22:13:20+00:00"
    assert "org.opencontainers.image.revision" not in labels
    wrong = {**tarball, "sha256": "0" * 64}
    failed = golden.framework.failed(submit(golden, {"tarball": wrong}), "tarball_invalid")
    assert digest in failed["message"]
    missing = {"url": f"{url}/missing.tar.gz"}
    golden.framework.failed(submit(golden, {"tarball": missing}), "tarball_failed")


def test_a_dockerfile_alone(golden: Golden) -> None:
    text = f"FROM {golden.cluster.base_image}\nRUN echo {golden.name} > /made\n"
    build = golden.framework.succeeded(submit(golden, {"inline": {"dockerfile": text}}))
    assert pull(golden.cluster, golden.name, "1").files["made"] == f"{golden.name}\n".encode()
    assert build["source"] == {"inline": {"dockerfile": text}}


def cli(framework: Framework, *words: str) -> subprocess.Popen[str]:
    registry = framework.cluster.registry
    login = ("--registry-username", registry.username, "--cpus", "0.5", "--mem", "512")
    return subprocess.Popen(
        [sys.executable, "-m", "builder_framework.cli", "submit", *words, *login],
        env=framework.client_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def copy(golden: Golden, tmp_path: Path) -> Path:
    """A working copy with something that must not leave this machine."""
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        f"FROM {golden.cluster.base_image}\nENV TEST={golden.name}\nCOPY . /copy\n"
    )
    (folder / ".dockerignore").write_text("*.env\n")
    (folder / "passwords.env").write_text("canary")
    (folder / "unsaved.txt").write_text("not committed yet")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    return folder


def test_a_working_copy(golden: Golden, copy: Path) -> None:
    image = f"{golden.cluster.registry.address}/{golden.name}:1"
    client = cli(golden.framework, str(copy), "--image", image, "--follow")
    _, errors = client.communicate(timeout=120)
    assert client.returncode == 0, errors
    files = pull(golden.cluster, golden.name, "1").files
    assert files["copy/unsaved.txt"] == b"not committed yet"
    assert "copy/passwords.env" not in files
    assert "copy/run.sh" in files


IGNORED = """\
# comment
*
!src
!docs/**/*.md
src/**/*.tmp
!src/keep/me.tmp
src/[a-c].txt
!/README.MD
**/Secret?.key
src/esc\\*aped
Dockerfile
"""

TREE = [
    "README.MD", "readme.md", "notes.txt", "src/main.c", "src/a.txt", "src/d.txt", "src/x.tmp",
    "src/deep/y.tmp", "src/keep/me.tmp", "src/secret1.key", "src/Secret1.key", "src/esc*aped",
    "src/escaped", "docs/a.md", "docs/a.MD", "docs/b/c/d.md", "docs/b/e.txt", "src/ .txt",
    "src/.hidden", "node_modules/x/index.js",
]  # fmt: skip


@pytest.mark.slow
def test_what_is_sent_is_what_docker_would_take(
    golden: Golden, cluster: Cluster, tmp_path: Path
) -> None:
    """BuildKit decides on the whole tree in one build, our packer before it in the other."""
    folder = tmp_path / "copy"
    lines = f"FROM {cluster.base_image}\nENV TEST={golden.name}\nCOPY . /ctx/\n"
    for path, text in {**{path: path for path in TREE}, "Dockerfile": lines}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / ".dockerignore").write_text(IGNORED)
    (folder / "src/link").symlink_to("main.c")
    everything = io.BytesIO()
    with tarfile.open(fileobj=everything, mode="w:gz") as tar:
        tar.add(folder, ".")
    golden.framework.succeeded(upload(golden.framework, f"{golden.name}:2", everything.getvalue()))
    client = cli(
        golden.framework, str(folder), "--follow",
        "--image", f"{cluster.registry.address}/{golden.name}:1",
    )  # fmt: skip
    _, errors = client.communicate(timeout=120)
    assert client.returncode == 0, errors
    ours = pull(cluster, golden.name, "1").files
    assert ours == pull(cluster, golden.name, "2").files
    found = {path.removeprefix("ctx/") for path in ours if path.startswith("ctx/")}
    assert {"src/main.c", "README.MD", "docs/b/c/d.md", "src/keep/me.tmp"} <= found
    assert not {"readme.md", "src/a.txt", "src/Secret1.key", "notes.txt", "src/x.tmp"} & found


def upload(framework: Framework, image: str, content: bytes) -> str:
    """By the API alone, as `curl -F request=… -F context=@…` does."""
    body = framework.body("", image)
    del body["source"]
    parts = {
        "request": (None, json.dumps(body), "application/json"),
        "context": ("context.tar.gz", content, "application/gzip"),
    }
    answer = framework.call("POST", "/api/v1/builds", files=parts)
    assert answer.status_code == 202, answer.text
    build_id: str = answer.json()["id"]
    return build_id


def simple(cluster: Cluster, name: str, *lines: str) -> bytes:
    """An archive with a Dockerfile and a file."""
    dockerfile = "\n".join([f"FROM {cluster.base_image}", f"ENV TEST={name}", *lines, ""])
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for file, text in {"Dockerfile": dockerfile, "a": name}.items():
            info = tarfile.TarInfo(file)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return content.getvalue()


@pytest.mark.slow
def test_the_second_attempt_has_it_too(golden: Golden, cluster: Cluster) -> None:
    framework = golden.framework
    content = simple(cluster, golden.name, "COPY a /a", "RUN echo it is there; sleep 6")
    build_id = upload(framework, f"{golden.name}:1", content)
    framework.wait_for(
        build_id, lambda _: "it is there\n" in framework.log(build_id), "in its step"
    )
    executor = executor_of(framework, framework.get(build_id))
    cluster.engine.docker("kill", container_of(cluster, executor))
    build = framework.succeeded(build_id)
    assert len(build["attempts"]) == 2
    assert build["result"]["source_digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert pull(cluster, golden.name, "1").files["a"] == golden.name.encode()


def test_a_follower_takes_an_upload_and_the_leader_gives_it_out(
    pair: Pair, cluster: Cluster, name: str
) -> None:
    """Through the database, for they share no directory."""
    leader, follower = pair.members
    leader.succeeded(upload(follower, f"{name}:1", simple(cluster, name, "COPY a /a")))
    assert pull(cluster, name, "1").files["a"] == name.encode()


def test_what_is_too_large_is_told_while_it_comes(
    cluster: Cluster, tmp_path: Path, name: str
) -> None:
    """By a server that does not read it, to a client that is still sending."""
    small = Framework(
        cluster,
        tmp_path / "data",
        PORT,
        {"BUILDER_UPLOAD_MAX_MB": "1", "BUILDER_FRAMEWORK_NAME": "small"},
    )
    small.start()
    try:
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy/Dockerfile").write_text("FROM scratch\n")
        (tmp_path / "copy/noise").write_bytes(os.urandom(60 * 1024 * 1024))
        client = cli(small, str(tmp_path / "copy"), "--image", f"x.example/{name}:1")
        _, errors = client.communicate(timeout=120)
    finally:
        small.end(signal.SIGTERM)
    assert client.returncode == 2, errors
    assert "upload_max_mb" in errors


@pytest.mark.slow
def test_an_upload_outlives_the_framework(golden: Golden, copy: Path) -> None:
    """Accepted, then killed before it could be placed: it is there for who comes next."""
    framework = golden.framework
    image = f"{golden.cluster.registry.address}/{golden.name}:1"
    with_master_away = golden.cluster.master
    with_master_away.pause()
    try:
        client = cli(framework, str(copy), "--image", image)
        out, errors = client.communicate(timeout=60)
        assert client.returncode == 0, errors
        framework.end(signal.SIGKILL)
    finally:
        with_master_away.resume()
    framework.start()
    framework.succeeded(out.strip())
    assert "copy/unsaved.txt" in pull(golden.cluster, golden.name, "1").files
