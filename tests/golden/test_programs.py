"""Hooks and tests of repositories that were made for tutum/builder or Docker Hub, unchanged."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import Cluster
from executor.hooks import NAMES
from tests.golden.conftest import Golden
from tests.integration.harness import Framework, exists

pytestmark = pytest.mark.integration

PORT = 8190


@pytest.fixture(scope="module")
def programs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Framework]:
    """A framework whose operator lets repositories bring programs, where a request asks for it."""
    running = Framework(
        cluster,
        tmp_path_factory.mktemp("programs"),
        PORT,
        {"BUILDER_REPOSITORY_PROGRAMS": "request", "BUILDER_FRAMEWORK_NAME": "programs"},
    )
    running.start()
    yield running
    running.end(signal.SIGTERM)


@pytest.fixture
def repository(programs: Framework, cluster: Cluster, name: str) -> Golden:
    return Golden(programs, cluster, name)


def tell(name: str) -> str:
    return f'#!/bin/sh\necho "hook {name} $IMAGE_NAME $SOURCE_BRANCH"\n'


def told(golden: Golden) -> list[str]:
    """The names of the hooks that said something, in order."""
    lines = golden.log().splitlines()
    return [line.split()[1] for line in lines if line.startswith("hook ")]


def test_without_leave_no_program_of_the_repository_runs(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    body = framework.body(cluster.git.clone_url("public"), f"{name}:1", hooks=True)
    answer = framework.call("POST", "/api/v1/builds", json=body)
    assert answer.status_code == 400
    assert "BUILDER_REPOSITORY_PROGRAMS" in answer.text


def test_nobody_asked_so_no_hook_runs(repository: Golden) -> None:
    url = repository.create("RUN true", **{"hooks/pre_build": tell("pre_build")})
    repository.make(url)
    assert told(repository) == []


VARIABLES = (
    *("GIT_BRANCH", "GIT_TAG", "GIT_SHA1", "GIT_MSG", "IMAGE_NAME"),
    *("SOURCE_BRANCH", "SOURCE_COMMIT", "COMMIT_MSG", "DOCKER_REPO", "DOCKERFILE_PATH"),
    *("DOCKER_TAG", "CACHE_TAG"),
)
"""tutum/builder's in the first line, Docker Hub's in the others."""


def test_hooks_know_what_tutum_and_docker_hub_told_them(repository: Golden) -> None:
    lines = "".join(f'echo "told {name} ${name}"\n' for name in VARIABLES)
    hook = {
        "app/hooks/pre_build": f"#!/bin/sh\n{lines}",
        "app/Dockerfile": "FROM scratch\nCOPY . /\n",
    }
    git, name = repository.cluster.git, repository.name
    url = git.create_repository(name, hook)
    commit = git.commit(name, {"b": "b"}, message="A subject\n\nand a body", tag="v7")
    common = {"GIT_SHA1": commit, "SOURCE_COMMIT": commit, "DOCKERFILE_PATH": "Dockerfile"}
    common |= dict.fromkeys(("GIT_MSG", "COMMIT_MSG"), "A subject")
    common["DOCKER_REPO"] = f"{repository.cluster.registry.address}/{name}"
    for ref, branch, tag in (("main", "main", ""), ("v7", "", "v7")):
        repository.make(url, ref, hooks=True, context="app", source={"ref": ref})
        said = [
            line.split(" ", 2)[1:]
            for line in repository.log().splitlines()
            if line.startswith("told ")
        ]
        assert dict(said) == {
            **common,
            "GIT_BRANCH": branch,
            "GIT_TAG": tag,
            "SOURCE_BRANCH": ref,
            "IMAGE_NAME": f"{common['DOCKER_REPO']}:{ref}",
            "DOCKER_TAG": ref,
            "CACHE_TAG": ref,
        }


def test_hooks_around_every_step_in_order(repository: Golden) -> None:
    around = [name for name in NAMES if name not in ("build", "test", "push")]
    url = repository.create("RUN true", **{f"hooks/{name}": tell(name) for name in around})
    image = repository.make(url, "1.2", hooks=True, source={"ref": "main"})
    assert told(repository) == around
    name = f"{repository.cluster.registry.address}/{repository.name}:1.2"
    assert f"hook post_push {name} main" in repository.log()
    assert image.digest == repository.build["result"]["digest"]


def test_hooks_in_place_of_steps(repository: Golden) -> None:
    """They build, test and push by themselves; what they pushed is the result."""
    url = repository.create(
        "ARG WORD",
        "RUN echo $WORD > /word",
        **{
            "hooks/build": "#!/bin/sh\ndocker build --build-arg WORD=hooked -t $IMAGE_NAME .\n",
            "hooks/test": "#!/bin/sh\ndocker run --rm $IMAGE_NAME grep hooked /word\n",
            "hooks/push": "#!/bin/sh\ndocker push $IMAGE_NAME\n",
        },
    )
    image = repository.make(url, hooks=True)
    assert image.files["word"] == b"hooked\n"
    result = repository.build["result"]
    assert result["digest"] == image.digest
    assert [pushed["digest"] for pushed in result["images"]] == [image.digest]
    assert {"building", "testing", "pushing"} <= set(result["timings"])


def test_a_hook_may_change_the_image_before_the_push(repository: Golden) -> None:
    pre_push = (
        '#!/bin/sh\nprintf "FROM $IMAGE_NAME\\nLABEL late=yes\\n" | docker build -t $IMAGE_NAME -\n'
    )
    url = repository.create("RUN true", **{"hooks/pre_push": pre_push})
    image = repository.make(url, hooks=True)
    assert image.config["config"]["Labels"]["late"] == "yes"


def test_a_failing_hook_ends_the_build(repository: Golden) -> None:
    url = repository.create("RUN true", **{"hooks/pre_build": "#!/bin/sh\nexit 9\n"})
    build = repository.framework.failed(
        repository.framework.submit(url, f"{repository.name}:1", hooks=True), "hook_failed"
    )
    assert build["message"] == "hooks/pre_build ended with 9"
    assert not exists(repository.cluster, repository.name, "1")


SUT = """\
services:
  app:
    image: this
    command: ["sh", "-c", "while true; do echo the app answers | nc -l -p 8080; done"]
  sut:
    image: this
    depends_on: [app]
    command: ["sh", "-c", "sleep 1; nc app 8080 | grep '{word}'"]
"""


def test_a_sut_that_is_content_lets_the_image_out(repository: Golden) -> None:
    """With another service beside it, found by its name."""
    url = repository.create("RUN true", **{"docker-compose.test.yml": SUT.format(word="answers")})
    repository.make(url, tests=True)
    assert "the app answers" in repository.log()


def test_a_sut_that_is_not_keeps_the_image_in(repository: Golden) -> None:
    url = repository.create("RUN true", **{"docker-compose.test.yml": SUT.format(word="nothing")})
    build = repository.framework.failed(
        repository.framework.submit(url, f"{repository.name}:1", tests=True), "test_failed"
    )
    assert build["phase"] == "TESTING"
    assert "sut" in build["message"]
    assert not exists(repository.cluster, repository.name, "1")


def test_a_sut_may_be_built_from_the_repository(repository: Golden) -> None:
    """As Docker Hub's own example does."""
    compose = "services:\n  sut:\n    build: .\n    command: cat /made\n"
    url = repository.create("RUN echo made > /made", **{"docker-compose.test.yml": compose})
    repository.make(url, tests=True)
    assert "made" in repository.log()


@pytest.mark.slow
def test_pull_asks_the_registry_for_a_base_image_that_is_there(
    repository: Golden, tmp_path: Path
) -> None:
    """The engine has another image of that name, as one does that pulled it earlier."""
    cluster, base = repository.cluster, f"{repository.name}/base:1"
    base = f"{cluster.registry.address}/{base}"
    (tmp_path / "Dockerfile").write_text(f"FROM {cluster.base_image}\nRUN echo new > /base\n")
    cluster.engine.docker("build", "--quiet", "--tag", base, str(tmp_path))
    cluster.engine.docker("push", "--quiet", base)
    older = f"#!/bin/sh\nprintf 'FROM {cluster.base_image}\\nRUN echo old > /base\\n' "
    older += f"| docker build --tag {base} -\n"
    url = repository.create("RUN true", base=base, **{"hooks/pre_build": older})
    found = [
        repository.make(url, tag, hooks=True, pull=pull).files["base"]
        for tag, pull in (("1", False), ("2", True))
    ]
    assert found == [b"old\n", b"new\n"], repository.log()
