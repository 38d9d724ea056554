"""A repository's own programs: in their place, in order, with what tutum/builder gave them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder_framework.protocol import Reason
from builder_framework.validate import image_reference
from executor.cancel import CancelToken
from executor.failure import BuildFailure
from executor.hooks import NAMES, Commit, Hooks, variables
from executor.log import BuildLog

IMAGE = image_reference("registry.example:5000/team/app:1.2")


class Bench:
    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.beside = self.root / "docker"
        (self.beside / "hooks").mkdir(parents=True)
        self.log_file = folder / "log"
        self.log = BuildLog(self.log_file)
        told = variables(Commit("a" * 40, "a subject", branch="main"), IMAGE, "docker/Dockerfile")
        env = {"PATH": "/usr/bin:/bin", **told}
        self.hooks = Hooks(self.root, self.beside, env, self.log, CancelToken())

    def add(self, name: str, text: str, mode: int = 0o755) -> Path:
        path = self.beside / "hooks" / name
        path.write_text(text)
        path.chmod(mode)
        return path


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.log.close()


def test_a_hook_that_is_not_there_is_no_fault(bench: Bench) -> None:
    assert not any(map(bench.hooks.run, NAMES))


@pytest.mark.parametrize("mode", [0o755, 0o644])
def test_a_hook_runs_beside_the_dockerfile(bench: Bench, mode: int) -> None:
    """Also without the bit that git may have lost on the way."""
    bench.add("pre_build", "#!/bin/bash\n[[ 1 == 1 ]] && pwd && env\n", mode)
    assert bench.hooks.has("pre_build")
    assert bench.hooks.run("pre_build")
    log = bench.log_file.read_text()
    assert f"-- hooks/pre_build\n{bench.beside}\n" in log
    for line in (
        "GIT_BRANCH=main",
        "GIT_TAG=",
        f"GIT_SHA1={'a' * 40}",
        "GIT_MSG=a subject",
        "IMAGE_NAME=registry.example:5000/team/app:1.2",
        "SOURCE_BRANCH=main",
        f"SOURCE_COMMIT={'a' * 40}",
        "COMMIT_MSG=a subject",
        "DOCKER_REPO=registry.example:5000/team/app",
        "DOCKERFILE_PATH=docker/Dockerfile",
        "DOCKER_TAG=1.2",
        "CACHE_TAG=1.2",
    ):
        assert f"\n{line}\n" in log


def test_post_checkout_runs_at_the_root(bench: Bench) -> None:
    bench.add("post_checkout", "#!/bin/sh\npwd\n")
    bench.hooks.run("post_checkout")
    assert f"\n{bench.root}\n" in bench.log_file.read_text()


@pytest.mark.parametrize(
    ("name", "reason"), [("test", Reason.TEST_FAILED), ("pre_push", Reason.HOOK_FAILED)]
)
def test_a_hook_that_fails_ends_the_build(bench: Bench, name: str, reason: Reason) -> None:
    bench.add(name, "exit 3\n")
    with pytest.raises(BuildFailure) as caught:
        bench.hooks.run(name)
    assert (caught.value.reason, caught.value.message) == (reason, f"hooks/{name} ended with 3")
    assert not caught.value.transient


def test_nothing_outside_of_the_checkout_is_a_hook(bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("echo canary\n")
    for name in ("pre_build", "build"):
        (bench.beside / "hooks" / name).symlink_to(outside)
    (bench.beside / "hooks" / "test").mkdir()
    assert not any(map(bench.hooks.has, NAMES))


@pytest.mark.parametrize(
    ("commit", "branch", "tag", "source"),
    [
        (Commit("a", "s", branch="main"), "main", "", "main"),
        (Commit("a", "s", tag="v1"), "", "v1", "v1"),
        (Commit("a", "s"), "", "", ""),
    ],
)
def test_branch_and_tag(commit: Commit, branch: str, tag: str, source: str) -> None:
    told = variables(commit, IMAGE, "Dockerfile")
    assert (told["GIT_BRANCH"], told["GIT_TAG"], told["SOURCE_BRANCH"]) == (branch, tag, source)


def test_names_are_in_the_order_of_a_build() -> None:
    around = ((f"pre_{step}", step, f"post_{step}") for step in ("build", "test", "push"))
    assert ("post_checkout", *itertools.chain.from_iterable(around)) == NAMES
