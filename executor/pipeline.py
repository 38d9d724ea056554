"""From a spec to pushed images: clone, build, push, with every phase timed and reported."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from builder_framework import validate
from builder_framework.errors import InvalidValueError
from builder_framework.protocol import BuildSpec, Outcome, Phase, PushedImage, Reason, Report
from builder_framework.validate import ImageReference
from executor.cancel import CancelToken, Stop, Stopped
from executor.engine import Engine, Engines
from executor.failure import BuildFailure
from executor.git import Checkout, Git
from executor.images import BuildOptions, build
from executor.log import BuildLog
from executor.registry import Registry
from executor.workspace import Workspace, context_dir, dockerfile

logger = logging.getLogger(__name__)

REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"
CREATED = "org.opencontainers.image.created"
"""https://github.com/opencontainers/image-spec/blob/main/annotations.md"""


_BY_MEMORY = frozenset(
    {
        Reason.GIT_FAILED,
        Reason.STEP_FAILED,
        Reason.BUILD_FAILED,
        Reason.ENGINE_FAILED,
        Reason.EXECUTOR_ERROR,
    }
)
"""What a build fails with when the kernel killed a part of it."""


@dataclass(frozen=True)
class Plan:
    """What the spec says, checked again and normalised: it came over the network."""

    url: str
    ref: str | None
    context: str
    dockerfile: str
    target: str | None
    images: tuple[ImageReference, ...]


def check(spec: BuildSpec) -> Plan:
    """Raises BuildFailure(invalid_spec), naming the field."""
    with _field("images"):
        images = tuple(dict.fromkeys(map(validate.image_reference, spec.images)))
        if not images:
            _wrong("there is no image to build")
    with _field("source.git.url"):
        url = validate.git_url(spec.git.url, spec.git_protocols)
    with _field("source.git.ref"):
        ref = None if spec.git.ref is None else validate.git_ref(spec.git.ref)
    with _field("context"):
        context = validate.relative_path(spec.context, allow_root=True)
    with _field("dockerfile"):
        file = validate.relative_path(spec.dockerfile)
    with _field("target"):
        target = None if spec.target is None else validate.target_stage(spec.target)
    with _field("build_args"):
        for name, value in spec.build_args.items():
            validate.build_arg_name(name)
            validate.text_value(value)
    with _field("labels"):
        for key, value in spec.labels.items():
            validate.label_key(key)
            validate.text_value(value)
    with _field("timeout"):
        if not spec.timeout > 0:
            _wrong("the timeout is not a positive number of seconds")
    return Plan(url, ref, context, file, target, images)


@contextlib.contextmanager
def _field(name: str) -> Iterator[None]:
    try:
        yield
    except InvalidValueError as error:
        raise BuildFailure(Reason.INVALID_SPEC, f"{name}: {error.message}") from error


def _wrong(problem: str) -> None:
    raise InvalidValueError(problem)


@dataclass
class Pipeline:
    """One build. `progress` hears a Report when a phase begins and when the commit is known.

    `out_of_memory`: whether the kernel has killed something for want of memory.
    """

    spec: BuildSpec
    workspace: Workspace
    log: BuildLog
    token: CancelToken
    engines: Engines
    progress: Callable[[Report], None]
    clock: Callable[[], float] = time.monotonic
    out_of_memory: Callable[[], bool] = lambda: False
    _report: Report = field(default_factory=lambda: Report(phase=Phase.STARTING))
    _timings: dict[str, float] = field(default_factory=dict)

    def run(self) -> Report:
        """The last report. Never raises; what went wrong is in it."""
        began = self.clock()
        self.token.set_timeout(self.spec.timeout)
        try:
            images, size = self._build(check(self.spec))
            report = replace(
                self._report,
                outcome=Outcome.SUCCEEDED,
                images=images,
                digest=images[0].digest,
                size=size,
            )
            self.log.line(f"\nPushed {', '.join(f'{i.name}@{i.digest}' for i in images)}")
        except Stopped:
            report = self._stopped()
        except BuildFailure as failure:
            report = self._failed(failure.reason, failure.message)
        except OSError as error:
            logger.exception("the build failed on this machine")
            report = self._failed(Reason.EXECUTOR_ERROR, f"the executor failed: {error}")
        except Exception as error:
            logger.exception("the build failed by a defect")
            report = self._failed(
                Reason.EXECUTOR_ERROR, f"the executor failed: {type(error).__name__}: {error}"
            )
        self._timings["total"] = self.clock() - began
        timings = {name: round(seconds, 3) for name, seconds in self._timings.items()}
        return replace(report, timings=timings)

    def _build(self, plan: Plan) -> tuple[tuple[PushedImage, ...], int | None]:
        reach = [*(image.registry for image in plan.images), plan.url]
        # The engine starts while the sources come.
        with self.engines.use(self.spec.engine, reach) as engine:
            with self._phase(Phase.CLONING, f"Cloning {plan.url} ({plan.ref or 'HEAD'})"):
                checkout = self._clone(plan)
            with self._phase(Phase.BUILDING, f"Building {', '.join(map(str, plan.images))}"):
                built = self._image(plan, checkout, engine)
            with self._phase(Phase.PUSHING, "Pushing"):
                return self._push(plan, built, engine)

    def _push(
        self, plan: Plan, built: str | None, engine: Engine
    ) -> tuple[tuple[PushedImage, ...], int | None]:
        registry = Registry(engine.address)
        try:
            identity, size = registry.image_id(plan.images[0])
            if engine.private:  # another's may have the old image store, with other ids
                _same_image(built, identity)
            pushed = tuple(
                registry.push(image, self.spec.registry_auth, self.token, self.log.line)
                for image in plan.images
            )
            # Another build on this engine may have taken a tag over meanwhile.
            for image in plan.images:
                _same_image(identity, registry.image_id(image)[0])
        except Stopped:
            # What was hung up on may still be on its way, and nothing may follow KILLED.
            self.engines.abandon(engine)
            raise
        finally:
            if engine.alive:
                for image in plan.images:
                    registry.forget(image)
        return pushed, size

    def _clone(self, plan: Plan) -> Checkout:
        git = Git(
            replace(self.spec.git, url=plan.url, ref=plan.ref),
            self.spec.git_protocols,
            self.workspace,
            self.log,
            self.token,
        )
        checkout = git.check_out(self._found)
        self.log.line(f"Checked out {checkout.commit}: {checkout.subject}")
        return checkout

    def _image(self, plan: Plan, checkout: Checkout, engine: Engine) -> str | None:
        context = context_dir(self.workspace.checkout, plan.context)
        file = dockerfile(self.workspace.checkout, context, plan.dockerfile)
        self._timings["engine"] = engine.wait_ready(self.token, self.log.line)
        options = BuildOptions(
            context,
            file,
            plan.images,
            plan.target,
            self.spec.build_args,
            # The commit's time, not ours: the same commit then gives the same digest again.
            {
                CREATED: checkout.committed,
                SOURCE: plan.url,
                **self.spec.labels,
                REVISION: checkout.commit,
            },
            self.spec.registry_auth,
        )
        try:
            return build(options, engine.address, self.workspace, self.log, self.token)
        except BuildFailure:
            if not engine.alive:
                engine.wait_ready(self.token, self.log.line)  # raises with what ended it
            raise

    def _found(self, commit: str) -> None:
        self._report = replace(self._report, commit=commit)
        self.progress(self._report)

    @contextlib.contextmanager
    def _phase(self, phase: Phase, title: str) -> Iterator[None]:
        self.token.check()
        self._report = replace(self._report, phase=phase)
        self.progress(self._report)
        self.log.line(f"\n== {phase.value}: {title}")
        began = self.clock()
        try:
            yield
        finally:
            self._timings[phase.value.lower()] = self.clock() - began

    def _failed(self, reason: Reason, message: str) -> Report:
        if reason in _BY_MEMORY and self.out_of_memory():
            reason, message = Reason.OUT_OF_MEMORY, f"the memory was used up: {message}"
        message = self.log.redact(message)
        self.log.line(f"\nFailed ({reason.value}): {message}")
        return replace(self._report, outcome=Outcome.FAILED, reason=reason, message=message)

    def _stopped(self) -> Report:
        doing = (self._report.phase or Phase.STARTING).value
        if self.token.why is Stop.TIMEOUT:
            return self._failed(
                Reason.TIMEOUT, f"not done after {self.spec.timeout:g} s: stopped while {doing}"
            )
        self.log.line(f"\nKilled while {doing}")
        return replace(self._report, outcome=Outcome.KILLED, message=f"killed while {doing}")


def _same_image(expected: str | None, found: str) -> None:
    if expected is not None and expected != found:
        raise BuildFailure(
            Reason.PUSH_FAILED, "another build on the same engine replaced the image meanwhile"
        )
