"""From a spec to published images: clone, build, push, with every phase timed and reported."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from builder_framework import validate
from builder_framework.errors import InvalidValueError
from builder_framework.protocol import BuildSpec, Outcome, Phase, Reason, Report
from builder_framework.recipe import GitSource
from builder_framework.validate import ImageReference
from executor import git_check
from executor.cancel import CancelToken, Stop, Stopped
from executor.engine import Engine, Engines
from executor.failure import BuildFailure
from executor.git import Checkout, Git
from executor.images import BuildOptions, build
from executor.lease import LeaseDesk, LeaseRefused
from executor.log import BuildLog
from executor.manifests import Manifest, Repository
from executor.publish import PUSH_PATIENCE, Publisher
from executor.registry import Registry
from executor.retry import Backoff, Retries
from executor.workspace import Workspace, context_dir, dockerfile

logger = logging.getLogger(__name__)

REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"
CREATED = "org.opencontainers.image.created"
"""https://github.com/opencontainers/image-spec/blob/main/annotations.md"""

TRIES = 3
"""How often a clone, or a build that needs a base image, is tried when a server fails it."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


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
    """What the spec says, checked again and normalised: it came over the network.

    `local`: the image's name in the engine, which no other build has. `staging`: its name in each
    repository before it has its final ones.
    """

    git: GitSource
    context: str
    dockerfile: str
    target: str | None
    images: tuple[ImageReference, ...]
    local: ImageReference
    staging: tuple[ImageReference, ...]


def check(spec: BuildSpec) -> Plan:
    """Raises BuildFailure(invalid_spec), naming the field."""
    with _field("images"):
        images = tuple(dict.fromkeys(map(validate.image_reference, spec.images)))
        if not images:
            _wrong("there is no image to build")
    with _field("build_id"):
        local = _tagged(images[0], f"builder-{spec.build_id}-{spec.attempt}")
    with _field("staging_tag"):
        tag = spec.staging_tag.replace("{build}", spec.build_id)
        tag = tag.replace("{attempt}", str(spec.attempt))
        staging = tuple(dict.fromkeys(_tagged(image, tag) for image in images))
        if taken := [str(image) for image in staging if image in images]:
            _wrong(f"{taken[0]} is asked for as a result; builds are staged there")
    git = git_check.check(spec.source.git, spec.git_protocols)
    with _field("context"):
        context = validate.relative_path(spec.recipe.context, allow_root=True)
    with _field("dockerfile"):
        file = validate.relative_path(spec.recipe.dockerfile)
    with _field("target"):
        target = None if spec.recipe.target is None else validate.target_stage(spec.recipe.target)
    with _field("build_args"):
        for name, value in spec.recipe.build_args.items():
            validate.build_arg_name(name)
            validate.text_value(value)
    with _field("labels"):
        for key, value in spec.labels.items():
            validate.label_key(key)
            validate.text_value(value)
    with _field("timeout"):
        if not spec.timeout > 0:
            _wrong("the timeout is not a positive number of seconds")
    return Plan(git, context, file, target, images, local, staging)


def _tagged(image: ImageReference, tag: str) -> ImageReference:
    return validate.image_reference(f"{image.name}:{tag}")


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

    `desk`: where it asks for leave to publish.
    `out_of_memory`: whether the kernel has killed something for want of memory.
    """

    spec: BuildSpec
    workspace: Workspace
    log: BuildLog
    token: CancelToken
    engines: Engines
    progress: Callable[[Report], None]
    desk: LeaseDesk
    clock: Callable[[], float] = time.monotonic
    backoff: Backoff = field(default_factory=Backoff)
    out_of_memory: Callable[[], bool] = lambda: False
    _report: Report = field(default_factory=lambda: Report(phase=Phase.STARTING))
    _timings: dict[str, float] = field(default_factory=dict)

    def run(self) -> Report:
        """The last report. Never raises; what went wrong is in it."""
        began = self.clock()
        self.token.set_timeout(self.spec.timeout)
        try:
            report = self._build(check(self.spec))
        except Stopped:
            report = self._stopped()
        except BuildFailure as failure:
            report = self._failed(failure.reason, failure.message, transient=failure.transient)
        except LeaseRefused as refusal:
            report = self._killed(f"the framework gave no leave to publish: {refusal}")
        except OSError as error:
            logger.exception("the build failed on this machine")
            reason = Reason.DISK_FULL if error.errno in _FULL else Reason.EXECUTOR_ERROR
            report = self._failed(reason, f"the executor failed: {error}", transient=True)
        except Exception as error:
            logger.exception("the build failed by a defect")
            report = self._failed(
                Reason.EXECUTOR_ERROR, f"the executor failed: {type(error).__name__}: {error}"
            )
        self._timings["total"] = self.clock() - began
        timings = {name: round(seconds, 3) for name, seconds in self._timings.items()}
        return replace(report, timings=timings)

    def _build(self, plan: Plan) -> Report:
        publisher = self._publisher(plan)
        if self.spec.pinned is not None:
            with self._phase(Phase.STARTING, f"Looking for {self.spec.pinned}, built earlier"):
                found = publisher.look_up(self.spec.pinned)
            if found is not None:
                with self._phase(Phase.PUSHING, "Publishing what is in the registry already"):
                    return self._publish(publisher, found)
            self.log.line("The registry does not have it (any more): building anew")
        hosts = [login.host for login in plan.git.logins]
        reach = [*(image.registry for image in plan.images), plan.git.url, *hosts]
        # The engine starts while the sources come.
        with self.engines.use(self.spec.engine, reach) as engine:
            with self._phase(Phase.CLONING, f"Cloning {plan.git.url} ({plan.git.ref or 'HEAD'})"):
                checkout = self._clone(plan)
            with self._phase(Phase.BUILDING, f"Building {', '.join(map(str, plan.images))}"):
                self._image(plan, checkout, engine)
            with self._phase(Phase.PUSHING, "Pushing"):
                return self._publish(publisher, self._stage(plan, publisher, engine))

    def _publisher(self, plan: Plan) -> Publisher:
        spec, token = self.spec, self.token

        def open_repository(image: ImageReference) -> Repository:
            return Repository(image, spec.registry_auth, spec.engine.insecure_registries, token)

        return Publisher(
            plan.images,
            plan.staging,
            spec.registry_auth,
            open_repository,
            self.desk,
            token,
            self.log.line,
            Retries(token, self.log.line, self.backoff, patience=PUSH_PATIENCE),
        )

    def _stage(self, plan: Plan, publisher: Publisher, engine: Engine) -> Mapping[str, Manifest]:
        registry = Registry(engine.address)
        try:
            identity, size = registry.image_id(plan.local)
            self._report = replace(self._report, size=size)
            return publisher.stage(registry, plan.local, identity)
        except Stopped:
            # What was hung up on may still be on its way, and nothing may follow KILLED.
            self.engines.abandon(engine)
            raise
        except BuildFailure:
            self._blame(engine)
            raise
        finally:
            if engine.alive:
                for image in (plan.local, *plan.staging):
                    registry.forget(image)

    def _publish(self, publisher: Publisher, manifests: Mapping[str, Manifest]) -> Report:
        try:
            publisher.publish(manifests, self.spec.pinned)
        finally:
            self._report = replace(self._report, images=tuple(publisher.published))
        images = self._report.images
        self.log.line(f"\nPushed {', '.join(f'{i.name}@{i.digest}' for i in images)}")
        return replace(self._report, outcome=Outcome.SUCCEEDED, digest=images[0].digest)

    def _clone(self, plan: Plan) -> Checkout:
        git = Git(
            plan.git,
            self.spec.git_protocols,
            self.workspace,
            self.log,
            self.token,
            self._retries(),
        )
        checkout = git.check_out(self._found)
        self.log.line(f"Checked out {checkout.commit}: {checkout.subject}")
        return checkout

    def _image(self, plan: Plan, checkout: Checkout, engine: Engine) -> None:
        context = context_dir(self.workspace.checkout, plan.context)
        file = dockerfile(self.workspace.checkout, context, plan.dockerfile)
        self._timings["engine"] = engine.wait_ready(self.token, self.log.line)
        options = BuildOptions(
            context,
            file,
            plan.local,
            [image.registry for image in plan.images],
            plan.target,
            self.spec.recipe.build_args,
            # The commit's time, not ours: the same commit then gives the same digest again.
            {
                CREATED: checkout.committed,
                SOURCE: plan.git.url,
                **self.spec.labels,
                REVISION: checkout.commit,
            },
            self.spec.registry_auth,
        )
        try:
            build(options, engine.address, self.workspace, self.log, self.token, self._retries())
        except BuildFailure:
            self._blame(engine)
            raise

    def _blame(self, engine: Engine) -> None:
        """What failed because its engine died failed for what ended the engine."""
        if not engine.alive:
            engine.wait_ready(self.token, self.log.line)  # raises

    def _retries(self) -> Retries:
        return Retries(self.token, self.log.line, self.backoff, tries=TRIES)

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

    def _failed(self, reason: Reason, message: str, *, transient: bool = False) -> Report:
        if reason in _BY_MEMORY and self.out_of_memory():
            reason, message = Reason.OUT_OF_MEMORY, f"the memory was used up: {message}"
            transient = False
        message = self.log.redact(message)
        self.log.line(f"\nFailed ({reason.value}): {message}")
        return replace(
            self._report,
            outcome=Outcome.FAILED,
            reason=reason,
            message=message,
            transient=transient,
        )

    def _stopped(self) -> Report:
        doing = (self._report.phase or Phase.STARTING).value
        if self._report.images:
            tags = ", ".join(image.name for image in self._report.images)
            doing = f"{doing}, after {tags} had been pushed"
        if self.token.why is Stop.TIMEOUT:
            return self._failed(
                Reason.TIMEOUT, f"not done after {self.spec.timeout:g} s: stopped while {doing}"
            )
        return self._killed(f"killed while {doing}")

    def _killed(self, message: str) -> Report:
        message = self.log.redact(message)
        self.log.line(f"\n{message[0].upper()}{message[1:]}")
        return replace(self._report, outcome=Outcome.KILLED, message=message)
