"""Sources that are not git, through the real cluster: what is asked for is what is in the image."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
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
from tests.golden.conftest import Golden
from tests.integration.harness import Framework, pull


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
