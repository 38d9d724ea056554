"""From a spec to published images: clone, build, push, with every phase timed and reported."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from builder_framework.protocol import (
    BuildSpec,
    EngineMode,
    FailedStep,
    Outcome,
    Phase,
    Reason,
    Report,
)
from builder_framework.recipe import Recipe, RunNetwork, Source, TaskSource
from builder_framework.validate import ImageReference
from executor import base_image, caches, labels
from executor.bake import Build
from executor.base_image import BaseImage
from executor.cancel import CancelToken, Stop, Stopped
from executor.container import Container
from executor.disk import WatchedBuild
from executor.dockerfile import base_of
from executor.engine import Engine, Engines
from executor.extras import Extras, make_extras
from executor.failure import BuildFailure
from executor.images import mount_files, run_build
from executor.labels import Origin
from executor.lease import LeaseDesk, LeaseRefused
from executor.log import BuildLog
from executor.manifests import Manifest, Repository
from executor.plan import Plan, check
from executor.publish import PUSH_PATIENCE, Publisher
from executor.registry import Registry
from executor.retry import Backoff, Retries
from executor.sources import Checkout, Fetcher
from executor.surroundings import proxy_arguments
from executor.workspace import Workspace, context_dir, dockerfile

logger = logging.getLogger(__name__)

CACHE_TAG = "builder-cache"
"""Of the cache beside an image, in the image's own repository."""

TRIES = 3
"""How often a clone, or a build that needs a base image, is tried when a server fails it."""

UPLOAD_PATIENCE = 300.0
"""Seconds for which the framework may be away while it has the sources."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


_BY_MEMORY = frozenset(
    {
        Reason.GIT_FAILED,
        Reason.STEP_FAILED,
        Reason.TASK_FAILED,
        Reason.BUILD_FAILED,
        Reason.ENGINE_FAILED,
        Reason.EXECUTOR_ERROR,
    }
)
"""What a build fails with when the kernel killed a part of it."""


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
    caches: Path = caches.ROOT
    _report: Report = field(default_factory=lambda: Report(phase=Phase.STARTING))
    _timings: dict[str, float] = field(default_factory=dict)
    _watched: WatchedBuild | None = None

    def run(self) -> Report:
        """The last report. Never raises; what went wrong is in it."""
        began = self.clock()
        self.token.set_timeout(self.spec.timeout)
        try:
            report = self._build(check(self.spec))
        except Stopped:
            report = self._stopped()
        except BuildFailure as failure:
            self._blame_step(failure.step)
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
        if plan.source.task is not None:
            return self._run_task(plan, plan.source.task)
        publisher = self._publisher(plan)
        if self.spec.pinned is not None:
            with self._phase(Phase.STARTING, f"Looking for {self.spec.pinned}, built earlier"):
                found = publisher.look_up(self.spec.pinned)
            if found is not None:
                with self._phase(Phase.PUSHING, "Publishing what is in the registry already"):
                    return self._publish(publisher, found)
            self.log.line("The registry does not have it (any more): building anew")
        reach = [*(image.registry for image in plan.images), *_hosts(plan.source)]
        # The engine starts while the sources come.
        with self._engine(plan, reach) as engine:
            fetcher = self._fetcher(plan)
            with self._phase(Phase.CLONING, fetcher.title):
                checkout = fetcher.fetch(self._found)
                extras = self._extras(plan, checkout, engine)
                extras.checked_out()
            with self._phase(Phase.BUILDING, f"Building {', '.join(map(str, plan.images))}"):
                self._image(plan, checkout, engine, extras)
            if extras.has_tests:
                with self._phase(Phase.TESTING, "Testing"):
                    extras.test()
            with self._phase(Phase.PUSHING, "Pushing"):
                extras.before_push()
                if extras.pushes_itself:
                    return self._let_push(plan, publisher, engine, extras)
                report = self._publish(publisher, self._stage(plan, publisher, engine))
                extras.pushed()
                return report

    def _run_task(self, plan: Plan, task: TaskSource) -> Report:
        """A program in a container, in place of a build."""
        (image,) = plan.images
        if self.spec.engine.mode is not EngineMode.NESTED:
            raise BuildFailure(Reason.INVALID_SPEC, "tasks run in an engine of their own: nested")
        with self._engine(plan, [image.registry]) as engine:
            attempt = f"{self.spec.build_id}.{self.spec.attempt}"
            auth = self.spec.logins.to_pull().get(image.registry)
            with self._phase(Phase.BUILDING, f"Running {image}"):
                self._timings["engine"] = engine.wait_ready(self.token, self.log.line)
                container = Container(task, attempt, engine.address, auth, self.log, self.token)
                try:
                    code = container.run()
                except BuildFailure:
                    self._blame(engine)
                    raise
        if code != 0:
            raise BuildFailure(Reason.TASK_FAILED, f"the program ended with {code}")
        return replace(self._report, outcome=Outcome.SUCCEEDED)

    @contextlib.contextmanager
    def _engine(self, plan: Plan, reach: Iterable[str]) -> Iterator[Engine]:
        key = plan.cache
        if self.spec.engine.mode is EngineMode.ROOTLESS:
            # Its files are another user's.
            key = replace(key, domain=f"{key.domain}-rootless")
        with self.engines.use(self.spec.engine, key, reach) as engine:
            engine.protect(self.spec.secrets())
            limit = int(self.spec.disk * 1024 * 1024)
            watched = self._watched = WatchedBuild(self.token, self.workspace.root, limit)
            try:
                with self.engines.disk.watching(watched, engine, self.spec.engine.disk_floor_mb):
                    yield engine
            finally:
                if self.log.leaked:
                    self.engines.spoil(engine)

    def _publisher(self, plan: Plan) -> Publisher:
        spec, token = self.spec, self.token

        def open_repository(image: ImageReference) -> Repository:
            auth = spec.logins.to_push(image.registry)
            return Repository(image, auth, spec.engine.insecure_registries, token)

        return Publisher(
            plan.images,
            plan.staging,
            spec.logins,
            open_repository,
            self.desk,
            token,
            self.log.line,
            Retries(token, self.log.line, self.backoff, patience=PUSH_PATIENCE),
        )

    def _stage(self, plan: Plan, publisher: Publisher, engine: Engine) -> Mapping[str, Manifest]:
        registry = Registry(engine.address)
        try:
            return publisher.stage(registry, plan.local, self._look_at(plan, registry))
        except Stopped:
            # What was hung up on may still be on its way, and nothing may follow KILLED.
            self.engines.abandon(engine)
            raise
        except BuildFailure:
            self._blame(engine)
            raise
        finally:
            if engine.alive:
                registry.forget(plan.local)

    def _look_at(self, plan: Plan, registry: Registry) -> str:
        """The id of the image in the engine."""
        loaded = registry.inspect(plan.local)
        self._report = replace(self._report, size=loaded.size, layers=loaded.layers)
        return loaded.id

    def _let_push(self, plan: Plan, publisher: Publisher, engine: Engine, extras: Extras) -> Report:
        """The repository's own hook pushes."""
        registry = Registry(engine.address)
        try:
            publisher.publish_by(extras.push, self._look_at(plan, registry))
        finally:
            self._report = replace(self._report, images=tuple(publisher.published))
            registry.forget(plan.local)
        extras.pushed()
        return replace(
            self._report, outcome=Outcome.SUCCEEDED, digest=self._report.images[0].digest
        )

    def _publish(self, publisher: Publisher, manifests: Mapping[str, Manifest]) -> Report:
        try:
            publisher.publish(manifests, self.spec.pinned)
        finally:
            self._report = replace(self._report, images=tuple(publisher.published))
        images = self._report.images
        self.log.line(f"\nPushed {', '.join(f'{i.name}@{i.digest}' for i in images)}")
        return replace(self._report, outcome=Outcome.SUCCEEDED, digest=images[0].digest)

    def _fetcher(self, plan: Plan) -> Fetcher:
        return Fetcher(
            plan.source,
            self.spec.git_protocols,
            self.workspace,
            self.log,
            self.token,
            self._retries(),
            Retries(self.token, self.log.line, self.backoff, patience=UPLOAD_PATIENCE),
            self._mirrors(plan),
        )

    def _mirrors(self, plan: Plan) -> Path | None:
        """The agent's engine has a cache of its own, and this container none."""
        kept = plan.cache.lasting and self.spec.engine.mode is not EngineMode.SOCKET
        if not kept or not self.caches.is_dir():
            return None
        return self.caches / plan.cache.domain / "git"

    def _image(self, plan: Plan, checkout: Checkout, engine: Engine, extras: Extras) -> None:
        # What is wrong with the sources is told before anybody waits for an engine.
        ours = None
        if not extras.builds_itself:
            ours = partial(self._by_us, self._what_to_build(plan, checkout), engine)
        self._timings["engine"] = engine.wait_ready(self.token, self.log.line)
        try:
            extras.build(ours)
        except BuildFailure:
            self._blame(engine)
            raise

    def _by_us(self, build: Build, engine: Engine) -> None:
        steps = run_build(
            build,
            self.spec.logins.to_pull(),
            engine.address,
            self.workspace,
            self.log,
            self.token,
            self._retries(),
        )
        if build.archive is not None:
            Registry(engine.address).load(build.archive)
            build.archive.unlink()
        self._report = replace(self._report, steps=steps)

    def _cache_from(self, plan: Plan) -> list[str]:
        """Images with a cache; that one may not be there yet is no error to BuildKit."""
        own = [_own_cache(plan)] if plan.recipe.registry_cache else []
        return [*plan.recipe.cache_from, *own]

    def _cache_to(self, plan: Plan) -> str | None:
        to = plan.recipe.cache_to
        if to is None and plan.recipe.registry_cache:
            to = _own_cache(plan)
        if to is not None and self.spec.engine.mode is EngineMode.SOCKET:
            # Its image store may be Docker's own, whose BuildKit refuses the whole build then.
            self.log.line("The agent's engine exports no cache")
            return None
        return to

    def _extras(self, plan: Plan, checkout: Checkout, engine: Engine) -> Extras:
        if self.spec.engine.mode is EngineMode.ROOTLESS and (
            plan.recipe.hooks or plan.recipe.tests
        ):
            raise BuildFailure(
                Reason.INVALID_SPEC,
                "hooks and tests need an engine with networks: choose the engine `nested`",
            )
        return make_extras(
            plan,
            checkout,
            Registry(engine.address),
            self.spec.logins,
            engine.address,
            f"{self.spec.build_id}.{self.spec.attempt}",
            self.workspace,
            self.log,
            self.token,
        )

    def _what_to_build(self, plan: Plan, checkout: Checkout) -> Build:
        recipe, output, space = plan.recipe, self.spec.output, self.workspace
        if self.spec.engine.mode is EngineMode.ROOTLESS and recipe.network is RunNetwork.DEFAULT:
            recipe = replace(recipe, network=RunNetwork.HOST)
        context = context_dir(space.checkout, recipe.context)
        file = dockerfile(space.checkout, context, recipe.dockerfile)
        base = self._base_image(file, recipe) if output.standard_labels else None
        pin = base.pin if base is not None else None
        origin = Origin(
            _url(plan.source),
            checkout.commit,
            checkout.committed,
            plan.images[0].tag,
            plan.source.ref,
            base.name if base is not None else None,
            base.digest if base is not None else None,
        )
        return Build(
            context,
            file,
            plan.local,
            recipe,
            labels=labels.image_labels(origin, output),
            annotations=labels.manifest_annotations(origin, output),
            secrets=mount_files(recipe.secrets, "secret", space),
            ssh=mount_files(recipe.ssh, "ssh", space),
            epoch=labels.epoch(origin, output),
            sbom=output.sbom,
            sbom_generator=self.spec.engine.sbom_generator,
            provenance=output.provenance,
            proxies=proxy_arguments(self.spec.engine.proxies),
            cache_from=self._cache_from(plan),
            cache_to=self._cache_to(plan),
            contexts=dict([pin]) if pin is not None else {},
            # The engine unpacks what it is given, and then times cannot be rewritten any more.
            archive=space.root / "image.tar" if output.timestamp is not None else None,
        )

    def _base_image(self, file: Path, recipe: Recipe) -> BaseImage | None:
        """What the labels say of it is what the build takes."""
        text = file.read_text(encoding="utf-8-sig", errors="replace")
        base = base_of(text, recipe.target, recipe.build_args)
        if base is None or ("@" not in base.image and self._may_have_images(recipe)):
            return None
        return base_image.look_up(base, self.spec.logins.to_pull(), self.spec.engine, self.token)

    def _may_have_images(self, recipe: Recipe) -> bool:
        """Whether the engine may have an image of the base's name, which goes before a registry's.

        Hooks make or pull some, and the agent's engine has its owner's; that may also be too old to
        be told what a name stands for (before Docker 23).
        """
        if self.spec.engine.mode is EngineMode.SOCKET:
            return True
        return recipe.hooks and not recipe.pull

    def _blame(self, engine: Engine) -> None:
        """What failed because its engine died failed for what ended the engine."""
        if not engine.alive:
            engine.wait_ready(self.token, self.log.line)  # raises

    def _blame_step(self, step: FailedStep | None) -> None:
        if step is not None:
            told = replace(step, name=self.log.redact(step.name))
            self._report = replace(self._report, failed_step=told)

    def _retries(self) -> Retries:
        return Retries(self.token, self.log.line, self.backoff, tries=TRIES)

    def _found(self, checkout: Checkout) -> None:
        self._report = replace(self._report, commit=checkout.commit, source_digest=checkout.digest)
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
        if self._watched is not None and (full := self._watched.failure) is not None:
            return self._failed(full.reason, full.message, transient=full.transient)
        if self.token.why is Stop.TIMEOUT:
            return self._failed(
                Reason.TIMEOUT, f"not done after {self.spec.timeout:g} s: stopped while {doing}"
            )
        return self._killed(f"killed while {doing}")

    def _killed(self, message: str) -> Report:
        message = self.log.redact(message)
        self.log.line(f"\n{message[0].upper()}{message[1:]}")
        return replace(self._report, outcome=Outcome.KILLED, message=message)


def _url(source: Source) -> str | None:
    """Where others find it."""
    if source.git is not None:
        return source.git.url
    return source.tarball.url if source.tarball is not None else None


def _hosts(source: Source) -> list[str]:
    """Whom the build talks to for it."""
    if source.git is not None:
        return [source.git.url, *(login.host for login in source.git.logins)]
    given = source.tarball or source.upload
    return [] if given is None else [given.url]


def _own_cache(plan: Plan) -> str:
    return f"{plan.images[0].name}:{CACHE_TAG}"
