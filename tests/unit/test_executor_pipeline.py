"""A build goes through its phases in order, and however it ends, its report says how."""

from __future__ import annotations

import errno
import itertools
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from builder_framework.protocol import (
    BuildSpec,
    CacheUse,
    EngineMode,
    LeaseAnswer,
    LeaseRequest,
    Outcome,
    Phase,
    PushedImage,
    Reason,
    Report,
    Steps,
    decode_lease_request,
)
from builder_framework.recipe import (
    GitLogin,
    GitSource,
    Logins,
    Output,
    Recipe,
    RegistryAuth,
    RegistryLogin,
    Source,
)
from builder_framework.redact import Secret
from builder_framework.validate import ImageReference
from executor import base_image, caches
from executor import pipeline as pipeline_module
from executor.bake import Build
from executor.base_image import BaseImage
from executor.caches import CacheKey
from executor.cancel import CancelToken, Stop
from executor.engine import Engine, Engines
from executor.failure import BuildFailure
from executor.labels import CREATED, REVISION, SOURCE, VERSION
from executor.lease import LeaseDesk
from executor.log import BuildLog
from executor.pipeline import Pipeline
from executor.plan import check
from executor.registry import LoadedImage
from executor.retry import Backoff
from executor.turns import TURNS
from executor.workspace import workspace
from tests.sources import git_of
from tests.unit.executor_registry import (
    DIGEST,
    IMAGE_ID,
    FakeRegistries,
    FakeRepository,
    Once,
    manifest_of,
    unavailable,
)
from tests.unit.waiting import until

NAME = "registry.example:5000/app"
STAGED = f"{NAME}:builder-staging"
OTHER = manifest_of("sha256:" + "d" * 64)
X = "file:///x.git"
PASSWORD = Secret("canary-s3cret")


@dataclass
class FakeEngine:
    """An engine that starts when it is told, in no time."""

    private: bool = True
    alive: bool = True
    address: str = "unix:///nowhere"
    data_root: Path | None = None
    failure: str | None = None
    stopped: list[float] = field(default_factory=list)
    protected: list[Secret] = field(default_factory=list)

    def wait_ready(self, token: CancelToken, say: Callable[[str], None]) -> float:
        token.check()
        say("Starting the Docker engine")
        if self.failure:
            raise BuildFailure(Reason.ENGINE_FAILED, self.failure)
        return 0.25

    def protect(self, secrets: Iterable[Secret]) -> None:
        self.protected += secrets

    def welcome(self, key: CacheKey, reach: Iterable[str]) -> None:
        pass

    def tidy(self) -> None:
        pass

    def stop(self, patience: float) -> None:
        self.alive = False
        self.stopped.append(patience)


@dataclass
class FakeRegistry:
    """What would be an engine's images."""

    registries: FakeRegistries
    pushed: list[ImageReference] = field(default_factory=list)
    forgotten: list[ImageReference] = field(default_factory=list)
    push_it: Callable[[ImageReference, CancelToken], None] = lambda _image, _token: None

    def __call__(self, _address: str) -> FakeRegistry:
        return self

    def inspect(self, _image: ImageReference) -> LoadedImage:
        return LoadedImage(IMAGE_ID, 1234, 2)

    def tag(self, _image: ImageReference, _name: ImageReference) -> None:
        pass

    def push(self, image: ImageReference, _auth: object, token: CancelToken, say: Any) -> str:
        say("Pushed")
        self.push_it(image, token)
        self.pushed.append(image)
        return self.registries.of(image.name).push(str(image.tag))

    def forget(self, image: ImageReference) -> None:
        self.forgotten.append(image)


def grant(request: LeaseRequest) -> LeaseAnswer | None:
    return LeaseAnswer(request.task_id, request.nonce, granted=True, seconds=30.0)


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
    built: list[Build] = field(default_factory=list)
    build_it: Callable[[CancelToken], None] = lambda _token: None
    clock: Callable[[], float] = time.monotonic
    framework: Callable[[LeaseRequest], LeaseAnswer | None] = grant
    asked: list[LeaseRequest] = field(default_factory=list)
    keys: list[CacheKey] = field(default_factory=list)

    @property
    def repository(self) -> FakeRepository:
        return self.registry.registries.of(NAME)

    def ask(self, data: bytes) -> None:
        request = decode_lease_request(data)
        self.asked.append(request)
        answer = self.framework(request)
        if answer is not None:
            self.desk.answer(answer)

    out_of_memory: bool = False
    caches: Path = caches.ROOT

    def run(self, **changes: Any) -> Report:
        log = BuildLog(self.tmp_path / "log", [PASSWORD])
        self.desk = LeaseDesk("b.1", self.ask, every=0.05)
        with workspace(self.tmp_path, self.tmp_path) as space:
            spec = replace(self.spec, **changes)
            report = Pipeline(
                spec,
                space,
                log,
                self.token,
                self.engines,
                self.reports.append,
                self.desk,
                self.clock,
                Backoff(0.01, 0.01),
                out_of_memory=lambda: self.out_of_memory,
                caches=self.caches,
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
        source=Source(GitSource(f"file://{repository}")),
        images=("registry.example:5000/app:1", "registry.example:5000/app:2"),
        timeout=30.0,
        logins=Logins((RegistryLogin("registry.example:5000", RegistryAuth("pusher", PASSWORD)),)),
        output=Output(labels={"team": "x", SOURCE: "overridden", REVISION: "a lie"}),
        git_protocols=("file",),
    )
    engine, engines = FakeEngine(), Engines(tmp_path)
    registry = FakeRegistry(FakeRegistries())
    made = Bench(tmp_path, spec, commit, engine, engines, registry)

    def build(
        what: Build,
        _logins: object,
        _address: str,
        _space: object,
        _log: object,
        token: CancelToken,
        _retries: object,
    ) -> Steps:
        made.built.append(what)
        made.build_it(token)
        return Steps(3, 1)

    def engine_for(_spec: object, key: CacheKey, _reach: object) -> Engine:
        made.keys.append(key)
        return engine

    monkeypatch.setattr(engines, "_engine_for", engine_for)
    monkeypatch.setattr(pipeline_module, "run_build", build)
    monkeypatch.setattr(pipeline_module, "Registry", registry)
    monkeypatch.setattr(pipeline_module, "Repository", registry.registries)
    return made


def test_builds_of_one_executor_take_turns_with_the_staging_tag(bench: Bench) -> None:
    """Another one has it: in their engine it is one name."""
    with ThreadPoolExecutor(1) as pool:
        with TURNS.take(STAGED, CancelToken()):
            running = pool.submit(bench.run)
            until(lambda: Phase.PUSHING in [report.phase for report in bench.reports])
            time.sleep(0.2)
            assert bench.registry.pushed == []
        assert running.result().outcome is Outcome.SUCCEEDED
    assert list(map(str, bench.registry.pushed)) == [STAGED]


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
        layers=2,
        steps=Steps(3, 1),
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
    assert list(map(str, bench.registry.pushed)) == [STAGED]
    assert list(map(str, bench.registry.forgotten)) == [STAGED, f"{NAME}:builder-b-1"]
    assert bench.repository.puts == ["1", "2"]
    assert [(r.digest, r.replaces) for r in bench.asked] == [(DIGEST, None)]
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
    assert bench.engine.protected == [PASSWORD]
    labels = dict(bench.built[0].labels)
    created = labels.pop(CREATED)
    assert labels == {
        "team": "x",
        SOURCE: "overridden",
        REVISION: bench.commit,
        VERSION: "1",
    }
    assert created.startswith("20")
    assert "T" in created


@pytest.mark.parametrize(
    ("changes", "field_name"),
    [
        ({"images": ()}, "images"),
        ({"images": ("App",)}, "images"),
        ({"source": Source(GitSource("ext::sh"))}, "source.git.url"),
        ({"source": Source(GitSource("https://u:p@h/x"))}, "source.git.url"),
        ({"git_protocols": ("https",)}, "source.git.url"),
        ({"source": Source(GitSource("file:///x", "--upload-pack=x"))}, "source.git.ref"),
        ({"source": Source(GitSource(X, ssh_key=Secret("x")))}, "source.git.ssh_key"),
        ({"source": Source(GitSource(X, known_hosts="x"))}, "source.git.known_hosts"),
        ({"source": Source(GitSource(X, depth=-1))}, "source.git.depth"),
        ({"source": Source(GitSource(X, logins=(GitLogin("-h"),)))}, "source.git.logins"),
        ({"recipe": Recipe(context="../x")}, "context"),
        ({"recipe": Recipe(dockerfile="/etc/passwd")}, "dockerfile"),
        ({"recipe": Recipe(target="-x")}, "target"),
        ({"recipe": Recipe(build_args={"A-B": "x"})}, "build_args"),
        ({"recipe": Recipe(build_args={"A": "\0"})}, "build_args"),
        ({"output": Output(labels={"=": "x"})}, "image_labels"),
        ({"staging_tag": "{build}:x"}, "staging_tag"),
        ({"staging_tag": "2"}, "staging_tag"),
        ({"build_id": "a/b"}, "build_id"),
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
        replace(
            bench.spec,
            images=("app", "docker.io/library/app:latest"),
            recipe=Recipe(context="./a/"),
        )
    )
    assert [str(image) for image in plan.images] == ["docker.io/library/app:latest"]
    assert plan.recipe.context == "a"


def test_one_staging_tag_for_each_repository(bench: Bench) -> None:
    plan = check(
        replace(bench.spec, images=("a:1", "b:1", "a:2"), staging_tag="s-{build}.{attempt}")
    )
    hub = "docker.io/library"
    assert list(map(str, plan.staging)) == [f"{hub}/a:s-b.1", f"{hub}/b:s-b.1"]
    assert str(plan.local) == f"{hub}/a:builder-b-1"


def failing(reason: Reason) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise BuildFailure(reason, f"no, {PASSWORD.reveal()}")

    return fail


def test_a_failing_clone(bench: Bench) -> None:
    report = bench.run(source=Source(GitSource(git_of(bench.spec.source).url, "nope")))
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


def test_a_failing_put_is_no_success(bench: Bench) -> None:
    """Also when one of two tags was put; what was is told."""

    def second_fails(what: str, tag: str) -> None:
        if (what, tag) == ("put", "2"):
            raise BuildFailure(Reason.PUSH_DENIED, "no")

    bench.repository.fault = second_fails
    report = bench.run()
    assert (report.outcome, report.reason) == (Outcome.FAILED, Reason.PUSH_DENIED)
    assert not report.transient
    assert [image.name for image in report.images] == [f"{NAME}:1"]
    assert report.digest is None
    assert len(bench.registry.forgotten) == 2


def test_a_failed_push_is_repeated_without_a_build(bench: Bench) -> None:
    failures = [unavailable(), unavailable()]

    def fail(_image: ImageReference, _token: CancelToken) -> None:
        if failures:
            raise failures.pop()

    bench.registry.push_it = fail
    assert bench.run().outcome is Outcome.SUCCEEDED
    assert len(bench.built) == 1
    assert bench.log.count("Trying again in") == 2


def test_a_push_whose_answer_was_lost_is_recognised(bench: Bench) -> None:
    def push_and_fail(image: ImageReference, _token: CancelToken) -> None:
        bench.repository.push(str(image.tag))
        raise unavailable()

    bench.registry.push_it = push_and_fail
    assert bench.run().outcome is Outcome.SUCCEEDED
    assert not bench.registry.pushed


def test_patience_has_an_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "PUSH_PATIENCE", 0.1)

    def fail(*_: object) -> None:
        raise unavailable()

    bench.registry.push_it = fail
    report = bench.run()
    assert (report.reason, report.transient) == (Reason.PUSH_FAILED, True)
    assert report.message == "HTTP 503"


@pytest.mark.parametrize("really", [True, False])
def test_a_denial_is_believed_when_the_registry_says_so_itself(bench: Bench, really: bool) -> None:
    """Docker forgets its credentials where the registry's first answer was an error."""
    denials = [BuildFailure(Reason.PUSH_DENIED, "unauthorized")]

    def deny(*_: object) -> None:
        if denials:
            raise denials.pop()

    def fault(what: str, _tag: str) -> None:
        if what == "check_push" and really:
            raise BuildFailure(Reason.PUSH_DENIED, "HTTP 401")

    bench.registry.push_it = deny
    bench.repository.fault = fault
    report = bench.run()
    if really:
        assert (report.reason, report.message) == (Reason.PUSH_DENIED, "HTTP 401")
        assert not report.transient
    else:
        assert report.outcome is Outcome.SUCCEEDED


def test_a_second_denial_is_believed(bench: Bench) -> None:
    def deny(*_: object) -> None:
        raise BuildFailure(Reason.PUSH_DENIED, "denied: immutable")

    bench.registry.push_it = deny
    assert bench.run().reason is Reason.PUSH_DENIED


def test_a_taken_over_staging_tag_is_pushed_again(bench: Bench) -> None:
    """Two builds on one engine use the same tag: what was pushed may be the other's image."""
    rivals = 2

    class Rival(FakeRegistry):
        def push(self, image: ImageReference, *rest: Any) -> str:
            nonlocal rivals
            digest = super().push(image, *rest)
            if rivals > 0:
                rivals -= 1
                return bench.repository.push(str(image.tag), OTHER)
            return digest

    rival = Rival(bench.registry.registries)
    bench.registry.push = rival.push  # type: ignore[method-assign,assignment]
    report = bench.run()
    assert (report.outcome, report.digest) == (Outcome.SUCCEEDED, DIGEST)
    rivals = 99
    report = bench.run()
    assert (report.reason, report.transient) == (Reason.PUSH_FAILED, True)


def test_several_repositories_get_the_same_digest(bench: Bench) -> None:
    images = ("a.example/x:1", "b.example/x:1", "a.example/x:2")
    report = bench.run(images=images)
    assert [image.name for image in report.images] == list(images)
    assert {image.digest for image in report.images} == {DIGEST}
    assert [image.name for image in bench.registry.pushed] == ["a.example/x", "b.example/x"]
    assert len(bench.asked) == 1


def test_different_digests_are_no_success(bench: Bench) -> None:
    other = bench.registry.registries.of("b.example/x")
    spaced = manifest_of(IMAGE_ID)
    content = spaced.content + b" "
    spaced = replace(spaced, content=content, digest="sha256:" + "e" * 64)
    other.push = lambda tag: FakeRepository.push(other, tag, spaced)  # type: ignore[assignment,misc]
    report = bench.run(images=("a.example/x:1", "b.example/x:1"))
    assert (report.reason, report.transient) == (Reason.PUSH_FAILED, False)
    assert not bench.asked


def test_the_staging_tag_goes_where_the_registry_can(bench: Bench) -> None:
    bench.repository.deletes_tags = True
    bench.run()
    assert set(bench.repository.tags) == {"1", "2"}


def test_tags_that_went_with_the_staging_tag_come_back(bench: Bench) -> None:
    def delete(tag: str) -> bool:
        bench.repository.tags.clear()
        return tag == "builder-staging"

    bench.repository.delete_tag = delete  # type: ignore[method-assign]
    assert bench.run().outcome is Outcome.SUCCEEDED
    assert bench.repository.tags == {"1": DIGEST, "2": DIGEST}


# -- the lease -----------------------------------------------------------------------------------


def test_a_tag_that_is_right_is_left_alone(bench: Bench) -> None:
    bench.repository.push("1")
    assert bench.run().outcome is Outcome.SUCCEEDED
    assert bench.repository.puts == ["2"]


def test_no_leave_no_tag(bench: Bench) -> None:
    bench.framework = lambda r: LeaseAnswer(r.task_id, r.nonce, granted=False, message="not yours")
    report = bench.run()
    assert (report.outcome, report.reason) == (Outcome.KILLED, None)
    assert report.message == "the framework gave no leave to publish: not yours"
    assert set(bench.repository.tags) == {"builder-staging"}


def test_no_answer_no_tag(bench: Bench) -> None:
    bench.framework = lambda _: None
    report = bench.run(timeout=1.0)
    assert (report.reason, report.phase) == (Reason.TIMEOUT, Phase.PUSHING)
    assert len(bench.asked) > 2
    assert set(bench.repository.tags) == {"builder-staging"}


def test_a_put_whose_answer_was_lost_is_not_repeated(bench: Bench) -> None:
    bench.repository.after_put = Once("put", unavailable)
    assert bench.run().outcome is Outcome.SUCCEEDED
    assert bench.repository.puts == ["1", "2"]


@pytest.mark.parametrize("what", ["manifest", "digest_of", "put"])
def test_what_the_registry_fails_is_repeated(bench: Bench, what: str) -> None:
    bench.repository.fault = Once(what, unavailable)
    assert bench.run().outcome is Outcome.SUCCEEDED
    assert bench.repository.puts == ["1", "2"]
    assert "HTTP 503" in bench.log


def test_a_stop_before_the_first_put_publishes_nothing(bench: Bench) -> None:
    def stop(request: LeaseRequest) -> LeaseAnswer | None:
        bench.token.cancel(Stop.KILL, 30.0)
        return grant(request)

    bench.framework = stop
    report = bench.run()
    assert (report.outcome, report.images) == (Outcome.KILLED, ())
    assert not bench.repository.puts


def stop_at_a_put(bench: Bench, grace: float) -> None:
    def stop(_what: str, _tag: str) -> None:
        bench.token.cancel(Stop.KILL, grace)

    bench.repository.after_put = stop


def test_a_stop_after_the_first_put_lets_the_others_follow(bench: Bench) -> None:
    stop_at_a_put(bench, 30.0)
    report = bench.run()
    assert report.outcome is Outcome.SUCCEEDED
    assert bench.repository.puts == ["1", "2"]
    assert len(bench.asked) == 1


def test_a_stop_without_grace_ends_between_two_tags(bench: Bench) -> None:
    stop_at_a_put(bench, 1.0)
    report = bench.run()
    assert report.outcome is Outcome.KILLED
    assert bench.repository.puts == ["1"]


def test_a_lease_that_ran_out_is_asked_for_again(bench: Bench) -> None:
    bench.framework = lambda r: LeaseAnswer(r.task_id, r.nonce, granted=True, seconds=0.4)
    bench.repository.after_put = lambda _what, _tag: time.sleep(0.5)
    assert bench.run().outcome is Outcome.SUCCEEDED
    assert len(bench.asked) == 2


# -- what an earlier attempt pinned --------------------------------------------------------------


def test_a_pinned_manifest_is_published_without_a_build(bench: Bench) -> None:
    bench.repository.push("builder-staging")
    bench.repository.push("1")
    report = bench.run(pinned=DIGEST)
    assert (report.outcome, report.digest, report.commit) == (Outcome.SUCCEEDED, DIGEST, None)
    assert [image.digest for image in report.images] == [DIGEST, DIGEST]
    assert bench.repository.puts == ["2"]
    assert not bench.built
    assert not bench.registry.pushed
    assert [r.phase for r in bench.reports] == [Phase.STARTING, Phase.PUSHING]
    assert [(r.digest, r.replaces) for r in bench.asked] == [(DIGEST, None)]


def test_a_pinned_manifest_that_is_gone_is_replaced(bench: Bench) -> None:
    report = bench.run(pinned=OTHER.digest)
    assert (report.outcome, report.digest) == (Outcome.SUCCEEDED, DIGEST)
    assert [(r.digest, r.replaces) for r in bench.asked] == [(DIGEST, OTHER.digest)]


def test_the_same_digest_replaces_nothing(bench: Bench) -> None:
    assert bench.run(pinned=DIGEST).outcome is Outcome.SUCCEEDED
    assert len(bench.built) == 1
    assert [(r.digest, r.replaces) for r in bench.asked] == [(DIGEST, None)]


def test_a_manifest_that_one_repository_lacks_is_built_anew(bench: Bench) -> None:
    bench.registry.registries.of("a.example/x").push("builder-staging")
    report = bench.run(pinned=DIGEST, images=("a.example/x:1", "b.example/x:1"))
    assert report.outcome is Outcome.SUCCEEDED
    assert len(bench.built) == 1


def test_a_registry_that_does_not_answer_does_not_lack_the_manifest(bench: Bench) -> None:
    bench.repository.push("builder-staging")
    bench.repository.fault = Once("manifest", unavailable)
    assert bench.run(pinned=DIGEST).outcome is Outcome.SUCCEEDED
    assert not bench.built


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
    assert (report.reason, report.transient) == (Reason.ENGINE_FAILED, True)
    assert not bench.registry.forgotten


def test_an_engine_that_dies_while_pushing_is_the_cause(bench: Bench) -> None:
    def die(*_: object) -> None:
        bench.engine.alive = False
        bench.engine.failure = "the Docker engine ended with -9"
        raise BuildFailure(Reason.ENGINE_FAILED, "connection refused")

    bench.registry.push_it = die
    report = bench.run()
    assert (report.reason, report.transient) == (Reason.ENGINE_FAILED, True)
    assert "ended with -9" in (report.message or "")


def test_a_missing_dockerfile_and_context(bench: Bench) -> None:
    assert bench.run(recipe=Recipe(dockerfile="nope")).reason is Reason.DOCKERFILE_INVALID
    assert bench.run(recipe=Recipe(context="nope")).reason is Reason.CONTEXT_INVALID


@pytest.mark.parametrize(
    ("error", "reason", "transient"),
    [
        (OSError("disk on fire"), Reason.EXECUTOR_ERROR, True),
        (OSError(errno.ENOSPC, "no space"), Reason.DISK_FULL, True),
        (KeyError("a defect"), Reason.EXECUTOR_ERROR, False),
    ],
)
def test_a_defect_is_reported(
    bench: Bench, error: Exception, reason: Reason, transient: bool
) -> None:
    def fail(_: CancelToken) -> None:
        raise error

    bench.build_it = fail
    report = bench.run()
    assert (report.outcome, report.reason) == (Outcome.FAILED, reason)
    assert report.transient is transient


def block(token: CancelToken) -> None:
    token.wait(30)


def stopped_while_busy(token: CancelToken, why: Stop) -> None:
    timer = threading.Timer(0.1, token.cancel, (why,))
    timer.start()
    try:
        token.wait(30)
    finally:
        timer.join()


@pytest.mark.parametrize("why", [Stop.KILL, Stop.SHUTDOWN])
def test_a_kill_while_building(bench: Bench, why: Stop) -> None:
    bench.build_it = lambda _: stopped_while_busy(bench.token, why)
    report = bench.run()
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
    bench.registry.push_it = lambda _image, token: stopped_while_busy(token, Stop.KILL)
    report = bench.run()
    assert (report.outcome, report.message) == (Outcome.KILLED, "killed while PUSHING")
    assert bench.engine.stopped == ([0] if private else [])
    assert report.images == ()


def test_another_build_keeps_the_engine(bench: Bench) -> None:
    bench.registry.push_it = lambda _image, token: stopped_while_busy(token, Stop.KILL)
    with bench.engines.use(bench.spec.engine):
        assert bench.run().outcome is Outcome.KILLED
    assert not bench.engine.stopped


def test_the_deadline(bench: Bench) -> None:
    bench.build_it = block
    report = bench.run(timeout=2.5)
    assert (report.outcome, report.reason) == (Outcome.FAILED, Reason.TIMEOUT)
    assert report.message == "not done after 2.5 s: stopped while BUILDING"


@pytest.mark.parametrize(("cache", "kept"), [(CacheUse.SHARED, True), (CacheUse.NONE, False)])
def test_a_build_without_a_cache_has_no_mirror_of_its_repository_either(
    bench: Bench, tmp_path: Path, cache: CacheUse, kept: bool
) -> None:
    bench.caches = tmp_path / "caches"
    bench.caches.mkdir()
    report = bench.run(cache=cache)
    assert report.outcome is Outcome.SUCCEEDED
    (key,) = bench.keys
    assert key.lasting is kept
    assert bool(list(bench.caches.glob("*/git/*"))) is kept


def test_a_build_that_writes_more_than_it_asked_for(bench: Bench, tmp_path: Path) -> None:
    """What ended it is told, not that it was stopped."""
    bench.engine.data_root = data_root = tmp_path / "docker"
    data_root.mkdir()

    def write(token: CancelToken) -> None:
        (data_root / "layer").write_bytes(bytes(range(256)) * 4096 * 3)
        block(token)

    bench.build_it = write
    report = bench.run(disk=2.0)
    assert (report.outcome, report.reason) == (Outcome.FAILED, Reason.DISK_EXCEEDED)
    assert report.transient is False
    assert "wrote 3 MiB" in str(report.message)
    assert "Failed (disk_exceeded)" in bench.log


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


@pytest.mark.parametrize(
    ("hooks", "mode", "pull", "pinned"),
    [
        (False, EngineMode.NESTED, False, True),
        (True, EngineMode.NESTED, False, False),
        (False, EngineMode.SOCKET, False, False),
        (True, EngineMode.NESTED, True, True),
        (False, EngineMode.SOCKET, True, False),
    ],
)
def test_an_image_that_the_engine_may_have_is_not_pinned(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    hooks: bool,
    mode: EngineMode,
    pull: bool,
    pinned: bool,
) -> None:
    """BuildKit takes that one first, unless it is told to pull."""
    name = "registry.example:5000/base:1"
    known = BaseImage(name, DIGEST, (name, f"docker-image://registry.example:5000/base@{DIGEST}"))
    monkeypatch.setattr(base_image, "look_up", lambda *_: known)
    (bench.tmp_path / "repository" / "Dockerfile").write_text(f"FROM {name}\n")
    git = ["git", "-C", str(bench.tmp_path / "repository"), "-c", "user.name=T"]
    commit = [*git, "-c", "user.email=t@example.org", "commit", "-qam", "a base image"]
    subprocess.run(commit, check=True, capture_output=True)
    engine = replace(bench.spec.engine, mode=mode)
    report = bench.run(recipe=Recipe(hooks=hooks, pull=pull), engine=engine)
    assert report.outcome is Outcome.SUCCEEDED
    (built,) = bench.built
    assert bool(built.contexts) is pinned
    assert ("org.opencontainers.image.base.name" in built.labels) is pinned
