"""A build goes through its phases in order, and however it ends, its report says how."""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from builder_framework.protocol import (
    BuildSpec,
    GitSpec,
    Outcome,
    Phase,
    PushedImage,
    Reason,
    RegistryAuth,
    Report,
)
from builder_framework.redact import Secret
from builder_framework.validate import ImageReference
from executor import pipeline as pipeline_module
from executor.cancel import CancelToken, Stop
from executor.engine import Engine, Engines
from executor.failure import BuildFailure
from executor.images import BuildOptions
from executor.log import BuildLog
from executor.pipeline import CREATED, REVISION, SOURCE, Pipeline, check
from executor.workspace import workspace

DIGEST = "sha256:" + "a" * 64
PASSWORD = Secret("canary-s3cret")


@dataclass
class FakeEngine:
    """An engine that starts when it is told, in no time."""

    private: bool = True
    alive: bool = True
    address: str = "unix:///nowhere"
    failure: str | None = None
    stopped: list[float] = field(default_factory=list)

    def wait_ready(self, token: CancelToken, say: Callable[[str], None]) -> float:
        token.check()
        say("Starting the Docker engine")
        if self.failure:
            raise BuildFailure(Reason.ENGINE_FAILED, self.failure)
        return 0.25

    def tidy(self) -> None:
        pass

    def stop(self, patience: float) -> None:
        self.alive = False
        self.stopped.append(patience)


@dataclass
class FakeRegistry:
    """What would be an engine's images."""

    pushed: list[ImageReference] = field(default_factory=list)
    forgotten: list[ImageReference] = field(default_factory=list)
    ids: Callable[[], str] = lambda: DIGEST
    push_it: Callable[[ImageReference, CancelToken], None] = lambda _image, _token: None

    def __call__(self, _address: str) -> FakeRegistry:
        return self

    def image_id(self, _image: ImageReference) -> tuple[str, int | None]:
        return self.ids(), 1234

    def push(
        self, image: ImageReference, _auth: object, token: CancelToken, say: Any
    ) -> PushedImage:
        say("Pushed")
        self.push_it(image, token)
        self.pushed.append(image)
        return PushedImage(str(image), DIGEST)

    def forget(self, image: ImageReference) -> None:
        self.forgotten.append(image)


@dataclass
class Bench:
    """Everything around a pipeline, with real git."""

    tmp_path: Path
    spec: BuildSpec
    commit: str
    engine: FakeEngine
    engines: Engines
    registry: FakeRegistry
    token: CancelToken = field(default_factory=CancelToken)
    reports: list[Report] = field(default_factory=list)
    options: list[BuildOptions] = field(default_factory=list)
    build_it: Callable[[CancelToken], str | None] = lambda _token: DIGEST
    clock: Callable[[], float] = time.monotonic
    out_of_memory: bool = False

    def run(self, **changes: Any) -> Report:
        log = BuildLog(self.tmp_path / "log", [PASSWORD])
        with workspace(self.tmp_path, self.tmp_path) as space:
            spec = replace(self.spec, **changes)
            report = Pipeline(
                spec,
                space,
                log,
                self.token,
                self.engines,
                self.reports.append,
                self.clock,
                out_of_memory=lambda: self.out_of_memory,
            ).run()
        log.close()
        return report

    @property
    def log(self) -> str:
        return (self.tmp_path / "log").read_text()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "Dockerfile").write_text("FROM scratch\n")
    git = ["git", "-C", str(repository), "-c", "user.name=T", "-c", "user.email=t@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "a subject"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    commit = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    spec = BuildSpec(
        build_id="b",
        attempt=1,
        git=GitSpec(f"file://{repository}"),
        images=("registry.example:5000/app:1", "registry.example:5000/app:2"),
        timeout=30.0,
        registry_auth=RegistryAuth("pusher", PASSWORD),
        labels={"team": "x", SOURCE: "overridden", REVISION: "a lie"},
        git_protocols=("file",),
    )
    engine, engines, registry = FakeEngine(), Engines(tmp_path), FakeRegistry()
    made = Bench(tmp_path, spec, commit, engine, engines, registry)

    def build(
        options: BuildOptions, _address: str, _space: object, _log: object, token: CancelToken
    ) -> str | None:
        made.options.append(options)
        return made.build_it(token)

    def engine_for(*_: object) -> Engine:
        return engine

    monkeypatch.setattr(engines, "_engine_for", engine_for)
    monkeypatch.setattr(pipeline_module, "build", build)
    monkeypatch.setattr(pipeline_module, "Registry", registry)
    return made


def test_a_good_build(bench: Bench) -> None:
    # A clock that moves a second each time it is looked at: real times are rounded in the report.
    bench.clock = itertools.count(0.0).__next__
    report = bench.run()
    assert report == Report(
        phase=Phase.PUSHING,
        outcome=Outcome.SUCCEEDED,
        commit=bench.commit,
        images=tuple(PushedImage(name, DIGEST) for name in bench.spec.images),
        digest=DIGEST,
        size=1234,
        timings=report.timings,
    )
    assert set(report.timings) == {"cloning", "building", "pushing", "engine", "total"}
    assert report.timings["engine"] == 0.25
    assert [report.timings[name] for name in ("cloning", "building", "pushing")] == [1.0, 1.0, 1.0]
    assert report.timings["total"] >= report.timings["cloning"] + report.timings["building"]
    assert [(r.phase, r.commit) for r in bench.reports] == [
        (Phase.CLONING, None),
        (Phase.CLONING, bench.commit),
        (Phase.BUILDING, bench.commit),
        (Phase.PUSHING, bench.commit),
    ]
    assert all(r.outcome is None for r in bench.reports)
    assert bench.registry.forgotten == bench.registry.pushed
    for word in (
        "CLONING",
        "a subject",
        "Starting the Docker engine",
        "BUILDING",
        "PUSHING",
        DIGEST,
    ):
        assert word in bench.log


def test_the_image_says_where_it_is_from(bench: Bench) -> None:
    """The revision is the truth, whatever the request's labels say; `created` is the commit's."""
    bench.run()
    labels = dict(bench.options[0].labels)
    created = labels.pop(CREATED)
    assert labels == {"team": "x", SOURCE: "overridden", REVISION: bench.commit}
    assert created.startswith("20")
    assert "T" in created


@pytest.mark.parametrize(
    ("changes", "field_name"),
    [
        ({"images": ()}, "images"),
        ({"images": ("App",)}, "images"),
        ({"git": GitSpec("ext::sh")}, "source.git.url"),
        ({"git": GitSpec("https://u:p@h/x")}, "source.git.url"),
        ({"git_protocols": ("https",)}, "source.git.url"),
        ({"git": GitSpec("file:///x", "--upload-pack=x")}, "source.git.ref"),
        ({"context": "../x"}, "context"),
        ({"dockerfile": "/etc/passwd"}, "dockerfile"),
        ({"target": "-x"}, "target"),
        ({"build_args": {"A-B": "x"}}, "build_args"),
        ({"build_args": {"A": "\0"}}, "build_args"),
        ({"labels": {"=": "x"}}, "labels"),
        ({"timeout": 0.0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
    ],
)
def test_a_spec_is_checked_again(bench: Bench, changes: dict[str, Any], field_name: str) -> None:
    report = bench.run(**changes)
    assert (report.outcome, report.reason) == (Outcome.FAILED, Reason.INVALID_SPEC)
    assert (report.message or "").startswith(f"{field_name}: ")
    assert not bench.reports


def test_a_spec_is_normalised(bench: Bench) -> None:
    plan = check(
        replace(bench.spec, images=("app", "docker.io/library/app:latest"), context="./a/")
    )
    assert [str(image) for image in plan.images] == ["docker.io/library/app:latest"]
    assert plan.context == "a"


def failing(reason: Reason) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise BuildFailure(reason, f"no, {PASSWORD.reveal()}")

    return fail


def test_a_failing_clone(bench: Bench) -> None:
    report = bench.run(git=GitSpec(bench.spec.git.url, "nope"))
    assert (report.reason, report.phase) == (Reason.GIT_REF_NOT_FOUND, Phase.CLONING)
    assert set(report.timings) == {"cloning", "total"}


def test_a_failing_build(bench: Bench) -> None:
    bench.build_it = failing(Reason.STEP_FAILED)
    report = bench.run()
    assert (report.outcome, report.reason) == (Outcome.FAILED, Reason.STEP_FAILED)
    assert (report.phase, report.message) == (Phase.BUILDING, "no, ***")
    assert report.commit == bench.commit
    assert not bench.registry.pushed
    assert PASSWORD.reveal() not in bench.log


def test_a_failing_push_is_no_success(bench: Bench) -> None:
    """Also when one of two tags was pushed."""

    def second_fails(image: ImageReference, _token: CancelToken) -> None:
        if image.tag == "2":
            raise BuildFailure(Reason.PUSH_DENIED, "no")

    bench.registry.push_it = second_fails
    report = bench.run()
    assert (report.outcome, report.reason) == (Outcome.FAILED, Reason.PUSH_DENIED)
    assert report.images == ()
    assert len(bench.registry.forgotten) == 2


def test_a_taken_over_tag_is_no_success(bench: Bench) -> None:
    """Two builds of one tag on one engine: what was pushed may be the other's image."""
    answers = iter([DIGEST, "sha256:" + "b" * 64])
    bench.registry.ids = lambda: next(answers)
    report = bench.run()
    assert report.reason is Reason.PUSH_FAILED


def test_an_engine_that_does_not_start(bench: Bench) -> None:
    bench.engine.failure = "the Docker engine did not start"
    report = bench.run()
    assert (report.reason, report.phase) == (Reason.ENGINE_FAILED, Phase.BUILDING)


def test_an_engine_that_died_is_the_cause(bench: Bench) -> None:
    """Not whatever BuildKit said about its lost connection."""

    def die(_: CancelToken) -> None:
        bench.engine.alive = False
        bench.engine.failure = "the Docker engine ended with -9"
        raise BuildFailure(Reason.BUILD_FAILED, "unexpected EOF")

    bench.build_it = die
    report = bench.run()
    assert report.reason is Reason.ENGINE_FAILED
    assert not bench.registry.forgotten


def test_a_missing_dockerfile_and_context(bench: Bench) -> None:
    assert bench.run(dockerfile="nope").reason is Reason.DOCKERFILE_INVALID
    assert bench.run(context="nope").reason is Reason.CONTEXT_INVALID


@pytest.mark.parametrize("error", [OSError("disk on fire"), KeyError("a defect")])
def test_a_defect_is_reported(bench: Bench, error: Exception) -> None:
    def fail(_: CancelToken) -> None:
        raise error

    bench.build_it = fail
    report = bench.run()
    assert (report.outcome, report.reason) == (Outcome.FAILED, Reason.EXECUTOR_ERROR)


def block(token: CancelToken) -> None:
    token.wait(30)


@pytest.mark.parametrize("why", [Stop.KILL, Stop.SHUTDOWN])
def test_a_kill_while_building(bench: Bench, why: Stop) -> None:
    bench.build_it = block
    timer = threading.Timer(0.3, bench.token.cancel, (why,))
    timer.start()
    report = bench.run()
    timer.join()
    assert (report.outcome, report.reason) == (Outcome.KILLED, None)
    assert report.message == "killed while BUILDING"
    assert report.commit == bench.commit
    assert not bench.engine.stopped


def test_a_kill_before_it_began(bench: Bench) -> None:
    bench.token.cancel(Stop.KILL)
    report = bench.run()
    assert (report.outcome, report.phase) == (Outcome.KILLED, Phase.STARTING)
    assert not bench.reports


@pytest.mark.parametrize("private", [True, False])
def test_a_kill_while_pushing_ends_the_push(bench: Bench, private: bool) -> None:
    """Nothing may be pushed after KILLED: an engine of ours is killed before it is said."""
    bench.engine.private = private
    bench.registry.push_it = lambda _image, token: block(token)
    timer = threading.Timer(0.5, bench.token.cancel, (Stop.KILL,))
    timer.start()
    report = bench.run()
    timer.join()
    assert (report.outcome, report.message) == (Outcome.KILLED, "killed while PUSHING")
    assert bench.engine.stopped == ([0] if private else [])
    assert report.images == ()


def test_another_build_keeps_the_engine(bench: Bench) -> None:
    bench.registry.push_it = lambda _image, token: block(token)
    timer = threading.Timer(0.5, bench.token.cancel, (Stop.KILL,))
    timer.start()
    with bench.engines.use(bench.spec.engine):
        assert bench.run().outcome is Outcome.KILLED
    timer.join()
    assert not bench.engine.stopped


def test_the_deadline(bench: Bench) -> None:
    bench.build_it = block
    began = time.monotonic()
    report = bench.run(timeout=0.8)
    assert time.monotonic() - began < 3
    assert (report.outcome, report.reason) == (Outcome.FAILED, Reason.TIMEOUT)
    assert report.message == "not done after 0.8 s: stopped while BUILDING"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (Reason.STEP_FAILED, Reason.OUT_OF_MEMORY),
        (Reason.ENGINE_FAILED, Reason.OUT_OF_MEMORY),
        (Reason.DOCKERFILE_INVALID, Reason.DOCKERFILE_INVALID),
    ],
)
def test_a_build_that_used_its_memory_up_is_told_so(
    bench: Bench, reason: Reason, told: Reason
) -> None:
    bench.build_it = failing(reason)
    bench.out_of_memory = True
    assert bench.run().reason is told
    assert f"Failed ({told.value})" in bench.log
