"""An agent that has cloned a repository fetches only what is new; a broken copy heals itself."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from devcluster import Cluster
from tests.golden.conftest import Golden
from tests.golden.test_lived import container_of, executor_of
from tests.integration.harness import Json

pytestmark = pytest.mark.integration

SIZE = 30_000_000
NEWS = 100_000
"""Bytes: far more than a commit of a line, and the question for it, take."""

AGENT: dict[str, Any] = {"constraints": [["rack", "EQUALS", "a"]]}

MOVED = re.compile(r"(\d+) KiB of (\d+) KiB came from the server")


def moved(golden: Golden, build: Json) -> tuple[int, int]:
    """KiB that came, of how many."""
    new, total = MOVED.findall(golden.framework.log(build["id"]))[-1]
    return int(new), int(total)


def test_only_what_is_new_is_cloned_again(golden: Golden) -> None:
    """On the agent that built it, by builds one after the other and at once."""
    framework, git = golden.framework, golden.cluster.git
    large = {"large": os.urandom(8 * 1024 * 1024)}
    dockerfile = f"FROM {golden.cluster.base_image}\nENV TEST={golden.name}\nCOPY . /all\n"
    url = git.create_repository(golden.name, {"Dockerfile": dockerfile, **large})
    rack = {"constraints": [["rack", "EQUALS", "a"]]}
    first = framework.succeeded(framework.submit(url, f"{golden.name}:1", **rack))
    new, total = moved(golden, first)
    assert new == total > 8000
    git.commit(golden.name, {"small": "new"})
    again = [framework.submit(url, f"{golden.name}:{n}", **rack) for n in (2, 3)]
    for build_id in again:
        build = framework.succeeded(build_id)
        assert moved(golden, build)[0] < 100
    # The cache volume, as root on the agent sees it.
    objects = "/var/lib/builder/*/git/*/objects.git/objects"
    truncate = f"find {objects} -type f -size +1M -exec truncate --size=1000 {{}} +"
    golden.cluster.engine.docker("exec", _executor(golden), "sh", "-c", truncate)
    git.commit(golden.name, {"small": "newer"})
    build = framework.succeeded(framework.submit(url, f"{golden.name}:4", **rack))
    assert "without the mirror" in framework.log(build["id"])


def _executor(golden: Golden) -> str:
    """The container of an executor that idles on the agent."""
    words = ("ps", "--quiet", "--filter", "label=builder.executor")
    found: str = golden.cluster.engine.docker(*words).split()[0]
    return found


class Server:
    """What the cluster's git server says that it sent of a repository."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._log = cluster.config.log_dir / "git.log"
        self._pattern = re.compile(rf"sent (\d+) bytes of {re.escape(name)}\.git")
        self._before = 0

    def sent(self) -> int:
        """Bytes since it was asked last."""
        total = sum(int(size) for size in self._pattern.findall(self._log.read_text()))
        news, self._before = total - self._before, total
        return news


@pytest.fixture
def server(cluster: Cluster, name: str) -> Server:
    return Server(cluster, name)


def create(golden: Golden) -> str:
    """A repository with much that nothing makes smaller."""
    url = golden.create("COPY a.txt /")
    golden.cluster.git.commit(golden.name, {"big.bin": os.urandom(SIZE), "a.txt": "1"})
    return url


def make(golden: Golden, url: str, text: str, **source: Any) -> bytes:
    image = golden.make(url, text, source=source, **AGENT)
    return image.files["a.txt"]


def test_a_second_build_moves_only_what_is_new(golden: Golden, server: Server) -> None:
    """As the git server counts it."""
    url = create(golden)
    assert make(golden, url, "1") == b"1"
    assert server.sent() > SIZE
    for text in ("2", "3"):
        golden.cluster.git.commit(golden.name, {"a.txt": text})
        assert make(golden, url, text) == text.encode()
        assert server.sent() < NEWS
    # Nothing is new.
    make(golden, url, "4")
    assert server.sent() < NEWS


def test_builds_at_once(golden: Golden, server: Server) -> None:
    """Of two branches, without a mirror at first; each gets its own files."""
    url = create(golden)
    git, framework = golden.cluster.git, golden.framework
    for branch in ("ann", "bob"):
        git.commit(golden.name, {"a.txt": branch}, branch=branch)
    for turn in range(2):
        ids = {
            branch: framework.submit(
                url, f"{golden.name}:{branch}{turn}", source={"ref": branch}, **AGENT
            )
            for branch in ("ann", "bob")
        }
        for branch, build_id in ids.items():
            build = framework.succeeded(build_id)
            assert build["result"]["commit"] == git.head(golden.name, branch)
        sent = server.sent()
        assert sent < NEWS if turn else sent > SIZE


@pytest.mark.slow
def test_a_forced_branch_and_a_tag_that_is_gone(golden: Golden, server: Server) -> None:
    url = create(golden)
    git = golden.cluster.git
    first = git.head(golden.name)
    git.commit(golden.name, {"a.txt": "tagged"}, tag="v1")
    assert make(golden, url, "1", ref="v1") == b"tagged"
    assert make(golden, url, "2", ref="main") == b"tagged"
    server.sent()
    git.create_ref(golden.name, "refs/heads/main", first)
    git.commit(golden.name, {"a.txt": "forced"})
    assert make(golden, url, "3", ref="main") == b"forced"
    assert server.sent() < NEWS
    git.delete_ref(golden.name, "refs/tags/v1")
    build_id = golden.framework.submit(url, f"{golden.name}:4", source={"ref": "v1"}, **AGENT)
    golden.framework.failed(build_id, "git_ref_not_found")


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncate -s 1000000", "dd if=/dev/zero bs=4k count=1 seek=1k"])
def test_a_broken_mirror_heals_itself(golden: Golden, server: Server, damage: str) -> None:
    """Cut off, or not what it was."""
    url = create(golden)
    make(golden, url, "1")
    container = container_of(golden.cluster, executor_of(golden.framework, golden.build))
    what = f"{damage} conv=notrunc of={{}}" if damage.startswith("dd") else f"{damage} {{}}"
    large = "find /var/lib/builder/*/git/*/objects.git/objects -type f -size +1M"
    script = f"{large} -exec chmod u+w {{}} + && {large} -exec {what} \\;"
    golden.cluster.engine.docker("exec", container, "sh", "-c", script)
    server.sent()
    golden.cluster.git.commit(golden.name, {"a.txt": "2"})
    assert make(golden, url, "2") == b"2"
    assert "without the mirror" in golden.log()
    assert server.sent() > SIZE
    # From the server alone, then into a new one, then with that.
    for text in ("3", "4"):
        golden.cluster.git.commit(golden.name, {"a.txt": text})
        assert make(golden, url, text) == text.encode()
        assert "without the mirror" not in golden.log()
    assert server.sent() - SIZE < 2 * NEWS


def test_a_login_is_needed_for_what_a_mirror_has(golden: Golden, name: str) -> None:
    """By whoever shares the cache: also for a commit that lies there."""
    git = golden.cluster.git
    files = {"a.txt": "1", "Dockerfile": f"FROM {golden.cluster.base_image}\nCOPY a.txt /\n"}
    url = git.create_repository(name, files, private=True)
    commit = git.head(name)
    login = {"username": git.username, "password": git.password}
    for depth in (0, 1):
        golden.framework.succeeded(
            golden.framework.submit(
                url, f"{name}:1", source={"ref": commit, "depth": depth, **login}, **AGENT
            )
        )
        build_id = golden.framework.submit(
            url, f"{name}:2", source={"ref": commit, "depth": depth}, **AGENT
        )
        golden.framework.failed(build_id, "git_auth_failed")
