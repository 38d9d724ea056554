"""What the pages tell people to type is typed, page by page, at a real framework.

Names of examples become those of the cluster, and nothing else is changed. What `make` does is CI's
own business, and whether flags and routes are there at all is shown without a cluster
(tests/unit/test_docs_commands.py).
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devcluster import Cluster
from devcluster.config import REPOSITORY
from devcluster.samples import PUBLIC
from tests.integration.conftest import PORT
from tests.integration.harness import PASSWORD, USER, Framework
from tests.unit.marathon import Marathon, serving

pytestmark = pytest.mark.integration

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?:\S+=\S+ )*(?:\.venv/bin/)?(?:builder|curl) ")
NOT_TYPED = {
    "curl -X PUT http://marathon.mesos:8080": "there is no Marathon of that name",
    'builder completion zsh > "${fpath[1]}': "is for zsh alone",
    "BUILDER_FAILPOINTS_ALLOWED=1": "starts a process that is killed; test_failpoints.py does that",
}
"""Beginnings of the others, and why not."""

OPS, WEB = "of-marathon", "/shop/web"


def typed(page: Path) -> list[str]:
    """The commands of a page in their order, each with all its lines."""
    found, begun = [], ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if not begun and not (line.startswith("    ") and COMMAND.match(line.strip())):
            continue
        begun += f"{line.strip()}\n"
        if is_whole(begun):
            found.append(begun.strip())
            begun = ""
    assert not begun, f"{page.name}: {begun} does not end"
    return found


def is_whole(text: str) -> bool:
    """Whether the shell would not wait for more."""
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return not text.rstrip().endswith("\\")


def is_typed(command: str) -> bool:
    return not any(command.startswith(beginning) for beginning in NOT_TYPED)


TYPED = [page for page in PAGES if any(map(is_typed, typed(page)))]


@dataclass
class Shell:
    """Somebody at a terminal, in a directory with a Dockerfile."""

    framework: Framework
    home: Path

    def environment(self) -> dict[str, str]:
        cluster = self.framework.cluster
        registry = cluster.registry
        ours = {**self.framework.environment(), **self.framework.client_environment()}
        return {
            **ours,
            "PATH": f"{REPOSITORY / '.venv' / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "AUTH": f"{USER}:{PASSWORD}",
            "ID": self.a_build(),
            "GIT_URL": cluster.git.url,
            "REGISTRY": registry.address,
            "REGISTRY_USERNAME": registry.username,
            "REGISTRY_PASSWORD": registry.password,
            "BUILDER_REGISTRY_USERNAME": registry.username,
            "BUILDER_USERS_FILE": str(self.home / "users"),
        }

    def a_build(self) -> str:
        """One that runs for long."""
        if not hasattr(self, "_id"):
            cluster = self.framework.cluster
            dockerfile = f"FROM {cluster.base_image}\nRUN sleep 300\n"
            url = cluster.git.create_repository("docs-slow", {"Dockerfile": dockerfile})
            self._id = self.framework.submit(url, "docs-slow:1")
        return self._id

    def here(self, command: str) -> str:
        """With the cluster's names in place of the examples'."""
        cluster = self.framework.cluster
        names = {
            "https://git.example.org/shop/web.git": cluster.git.clone_url("web", pause=0.1),
            "https://git.example.org/shop/": f"{cluster.git.url}/slow/0.1/",
            "https://git.example.org/app.git": cluster.git.clone_url(PUBLIC),
            "registry.example.org": cluster.registry.address,
            "172.17.0.1:5000": cluster.registry.address,
            "/backup/": f"{self.home}/backup/",
            "/etc/builder/": f"{self.home}/",
            "2026-11-22": time.strftime("%F"),
            "0f3c…": self.a_token() if "0f3c…" in command else "",
            ".venv/bin/": "",
            # Without it any answer is a good one to curl.
            "curl -u": "curl -fsS -u",
        }
        for name, ours in names.items():
            command = command.replace(name, ours)
        return command

    def a_token(self) -> str:
        tokens = self.framework.call("GET", "/api/v1/tokens").json()["tokens"]
        return str(tokens[0]["id"])

    def types(self, command: str) -> None:
        """The command, and twice a password for those that ask for one."""
        ran = subprocess.run(
            ["bash", "-c", self.here(command)],
            cwd=self.home,
            env=self.environment(),
            input="a long passphrase\na long passphrase\n",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            start_new_session=True,
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}"


@pytest.fixture(scope="module")
def marathon() -> Iterator[Marathon]:
    with serving(Marathon(login=("ops", OPS))) as running:
        running.has(WEB, "registry.example.org/shop/web:1")
        yield running


@pytest.fixture(scope="module")
def shell(
    cluster: Cluster, marathon: Marathon, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shell]:
    settings = {
        "BUILDER_EREMETIC": "true",
        "BUILDER_EREMETIC_TASKS": "true",
        "BUILDER_MARATHON_URL": marathon.url,
        "BUILDER_MARATHON_LOGIN": f"ops:{OPS}",
        "BUILDER_MARATHON_APPS": "/shop",
    }
    running = Framework(cluster, tmp_path_factory.mktemp("docs"), PORT + 6, settings)
    running.start()
    assert running.call("PUT", "/api/v1/projects/shop", json={}).status_code == 201
    home = tmp_path_factory.mktemp("home")
    dockerfile = f"FROM {cluster.base_image}\nRUN echo hi\n"
    cluster.git.create_repository("web", {"Dockerfile": dockerfile})
    (home / "Dockerfile").write_text(dockerfile)
    with tarfile.open(home / "context.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(dockerfile)
        archive.addfile(member, io.BytesIO(dockerfile.encode()))
    (home / "password").write_text(cluster.registry.password)
    (home / "token").write_text("of-npm")
    for folder in (
        "backup",
        ".local/share/bash-completion/completions",
        ".config/fish/completions",
    ):
        (home / folder).mkdir(parents=True)
    yield Shell(running, home)
    for build in running.call("GET", "/api/v1/builds?limit=200").json()["builds"]:
        if build["state"] not in ("SUCCEEDED", "FAILED", "CANCELLED"):
            running.call("POST", f"/api/v1/builds/{build['id']}/cancel")
    if running.process is not None:
        running.end(signal.SIGTERM)


@pytest.mark.parametrize("page", TYPED, ids=lambda page: page.name)
def test_a_page_can_be_typed(shell: Shell, page: Path) -> None:
    shutil.rmtree(shell.home / ".config" / "builder", ignore_errors=True)
    for command in filter(is_typed, typed(page)):
        stopped = "db restore" in command  # as the page says
        if stopped:
            shell.framework.end(signal.SIGTERM)
        shell.types(command)
        if stopped:
            shell.framework.start()


def test_nothing_else_is_left_out() -> None:
    every = [command for page in PAGES for command in typed(page)]
    for beginning in NOT_TYPED:
        assert any(command.startswith(beginning) for command in every), beginning
    assert sum(map(is_typed, every)) > 25
