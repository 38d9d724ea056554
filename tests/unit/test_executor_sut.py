"""Sut before the push: Compose is told what to run, and what it started goes away."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder_framework.protocol import Reason
from builder_framework.validate import image_reference
from executor.cancel import CancelToken
from executor.failure import BuildFailure
from executor.log import BuildLog
from executor.sut import Sut
from executor.sweep import TEST_LABEL

IMAGE = image_reference("registry.example:5000/app:builder-b-1")
DOCKER = """#!/bin/sh
echo "$@" >> {calls}
case "$*" in
*" config "*) cat {plan}; exit {config} ;;
*" up "*) for a in "$@"; do case "$a" in --file=*) cat "${{a#--file=}}" > {used} ;; esac; done
  echo "sut says hello"; exit {up} ;;
esac
"""
PLAN: dict[str, Any] = {
    "name": "x",
    "services": {"sut": {"image": "this", "build": {"context": "."}}, "db": {"image": "db:1"}},
    "networks": {"default": {"name": "x_default"}, "outer": {"external": True}},
    "volumes": {"data": None},
}


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkout = folder / "checkout"
        self.scratch = folder / "scratch"
        for made in (self.checkout, self.scratch, folder / "bin"):
            made.mkdir()
        self.log = BuildLog(folder / "log")

    def tests(self, plan: Any = PLAN, config: int = 0, up: int = 0) -> Sut:
        (self.folder / "plan").write_text(json.dumps(plan))
        docker = self.folder / "bin" / "docker"
        paths = {name: str(self.folder / name) for name in ("calls", "plan", "used")}
        docker.write_text(DOCKER.format(config=config, up=up, **paths))
        docker.chmod(0o755)
        env = {"PATH": f"{docker.parent}:{os.environ['PATH']}"}
        token = CancelToken()
        return Sut(self.checkout, "p", IMAGE, env, self.scratch, "b.1", self.log, token)

    def add(self, *names: str) -> None:
        for name in names:
            (self.checkout / name).write_text("services: {}\n")

    @property
    def calls(self) -> list[str]:
        """The subcommands of Compose."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [next(w for w in line.split()[1:] if not w.startswith("-")) for line in lines]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.log.close()


def test_only_test_files_are_tests(bench: Bench) -> None:
    bench.add("docker-compose.test.yml", "a-test.yml", "docker-compose.yml", "test.yml")
    (bench.checkout / "z.test.yml").symlink_to("docker-compose.yml")
    names = [path.name for path in bench.tests().files()]
    assert names == ["a-test.yml", "docker-compose.test.yml"]


def test_this_is_the_image_that_was_built(bench: Bench) -> None:
    bench.add("docker-compose.test.yml")
    assert bench.tests().run() == 1
    assert bench.calls == ["config", "up", "down"]
    used = json.loads((bench.folder / "used").read_text())
    label = {TEST_LABEL: "b.1"}
    assert used == {
        "services": {
            "sut": {"image": str(IMAGE), "pull_policy": "never", "labels": label},
            "db": {"image": "db:1", "labels": label},
        },
        "networks": {
            "default": {"name": "x_default", "labels": label},
            "outer": {"external": True},
        },
        "volumes": {"data": {"labels": label}},
    }
    assert "sut says hello" in (bench.folder / "log").read_text()


def test_a_failing_sut_fails_the_build_and_is_taken_down(bench: Bench) -> None:
    bench.add("docker-compose.test.yml")
    with pytest.raises(BuildFailure, match=r"the service sut of .* ended with 7") as caught:
        bench.tests(up=7).run()
    assert caught.value.reason is Reason.TEST_FAILED
    assert bench.calls[-1] == "down"


@pytest.mark.parametrize(
    ("plan", "config", "words"),
    [
        ({"services": {"db": {}}}, 0, "no service 'sut'"),
        ({}, 0, "no service"),
        ({}, 15, "no Compose file"),
    ],
)
def test_a_file_without_a_sut_is_told(bench: Bench, plan: Any, config: int, words: str) -> None:
    bench.add("x.test.yml")
    with pytest.raises(BuildFailure, match=words):
        bench.tests(plan, config).run()
    assert bench.calls == ["config"]
