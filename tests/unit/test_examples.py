"""The examples against the API, as their docstrings say."""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from builder_framework.domain import deployment as rules
from builder_framework.domain import events as ev
from builder_framework.domain.deployment import Deployment, DeploymentState
from builder_framework.ports import RequestPolicy
from builder_framework.protocol import FailedStep, Reason, Report
from tests.unit.builds_double import PASSWORD, USER, MemoryBuilds
from tests.unit.waiting import until

pytest_plugins = ("tests.unit.conftest_api",)

EXAMPLE = Path(__file__).parents[2] / "examples" / "jujube_release.py"
WORDS = [
    "https://git.example.org/web.git",
    "v1.2",
    "registry.example.org/web",
    "--app",
    "/shop/web",
]
DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture
def policy() -> RequestPolicy:
    return RequestPolicy(marathon=True, marathon_apps=("/shop",))


@pytest.fixture
def example(server: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """As a module that was just loaded, for that server."""
    monkeypatch.setenv("BUILDER_URL", server)
    monkeypatch.setenv("BUILDER_USERNAME", USER)
    monkeypatch.setenv("BUILDER_PASSWORD", PASSWORD)
    spec = importlib.util.spec_from_file_location("jujube_release", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    return module


def during(builds: MemoryBuilds, story: Callable[[str], None]) -> threading.Thread:
    """What happens to the build once it is there."""

    def run() -> None:
        until(lambda: bool(builds.builds))
        (build_id,) = builds.builds
        builds.place(build_id)
        builds.write(build_id, b"Step 1\n")
        story(build_id)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def deployment(builds: MemoryBuilds, build_id: str) -> Deployment:
    done = builds.builds[build_id]
    made = rules.due(None, replace(done, result=replace(done.result, digest=DIGEST)), 1.0)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("state", "code"), [(DeploymentState.SUCCEEDED, 0), (DeploymentState.ROLLED_BACK, 2)]
)
def test_a_release(
    example: ModuleType,
    builds: MemoryBuilds,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    state: DeploymentState,
    code: int,
) -> None:
    looks: list[float] = []

    def story(build_id: str) -> None:
        builds.apply(build_id, ev.TaskSucceeded(1, Report(digest=DIGEST)))
        going_on = deployment(builds, build_id)
        builds.deployments[build_id] = going_on
        builds.apply(build_id, ev.LogCompleted())
        until(lambda: bool(looks))
        builds.deployments[build_id] = replace(going_on, state=state, message="as Marathon has it")

    real = example.wait_until_deployed
    wait = functools.partial(real, sleep=looks.append)
    monkeypatch.setattr(example, "wait_until_deployed", wait)
    thread = during(builds, story)
    assert example.main(WORDS) == code
    thread.join()
    (build,) = builds.builds.values()
    assert build.request.images == ("registry.example.org/web:v1.2",)
    assert build.request.labels == {"release": "v1.2"}
    said = capsys.readouterr()
    assert said.out == "Step 1\n"
    assert "/shop/web WAITING" in said.err
    assert said.err.endswith(f"web@{DIGEST}: {state.value} as Marathon has it\n")


def test_a_build_that_fails_is_not_waited_for(
    example: ModuleType, builds: MemoryBuilds, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report(failed_step=FailedStep("RUN false", 2, 1))
    failed = ev.TaskFailed(1, Reason.STEP_FAILED, "RUN false: exit code 1", report)
    thread = during(builds, lambda build_id: builds.apply(build_id, failed, ev.LogCompleted()))
    assert example.main(WORDS) == 1
    thread.join()
    assert "FAILED" in capsys.readouterr().err


def test_what_the_server_refuses_is_told(
    example: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert example.main([*WORDS[:-1], "/bank"]) == 3
    assert "deploy.marathon.app: is no app that builds may deploy to" in capsys.readouterr().err
