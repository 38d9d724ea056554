"""Brings new images into apps of Marathon: the leader's only. Builds never wait for any of it.

Each round looks at every app with a deployment that goes on, decides (`domain.deployment`), stores
what was decided, and only then tells Marathon. So whoever comes after this process knows that
Marathon may have been told, and finds out by looking.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from builder_framework import logfields
from builder_framework.domain import deployment as rules
from builder_framework.domain.delivery import Delivery
from builder_framework.domain.deployment import Answer, App, Command, Deployment
from builder_framework.domain.model import Build
from builder_framework.domain.states import State
from builder_framework.errors import BuilderError
from builder_framework.marathon import MarathonError
from builder_framework.store.base import Deployments, Store

log = logging.getLogger(__name__)

_LOOK = 2.0
_AFTER_ERROR = 10.0


def deployment_of(build: Build, store: Store) -> Deployment | None:
    """What becomes of its image. Nothing is asked of the store for a build that has no deployment.

    Raises StoreUnavailableError.
    """
    if build.request.deploy is None or build.state is not State.SUCCEEDED:
        return None
    return store.deployments.of_build(build.id)


Told = Callable[[Deployment, float], Sequence[Delivery]]
"""(a deployment that is over, now) -> the messages about it. May raise StoreUnavailableError."""


class Target(Protocol):
    """`marathon.Marathon`."""

    def app(self, app_id: str) -> App | None:
        """Raises MarathonError."""
        ...

    def carry_out(self, command: Command) -> Answer:
        """Never raises."""
        ...


class Deployer:
    """The worker. `start` when this process leads, `stop` when it does not any more."""

    def __init__(
        self,
        deployments: Deployments,
        marathon: Target | None,
        clock: Callable[[], float] = time.time,
        told: Told | None = None,
    ) -> None:
        """Without a Marathon, what was promised while there was one is given up.

        `told`: what an end makes due; None: nobody hears of it.
        """
        self._told = told
        self._deployments = deployments
        self._marathon = marathon
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deployments", daemon=True)

    def start(self) -> None:
        """Take up what goes on, and what comes."""
        self._thread.start()

    def stop(self) -> None:
        """Tell Marathon nothing new; what it was told goes on there, and is looked at later."""
        self._stopping.set()
        self._thread.join(timeout=5)

    @property
    def alive(self) -> bool:
        """Whether deployments are being looked after; when not, this process must end."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._stopping.wait(_LOOK if self._round() else _AFTER_ERROR)
        except Exception:
            log.exception("images are not deployed any more")

    def _round(self) -> bool:
        """Whether the store and Marathon answered."""
        good = True
        try:
            for deployment, later in self._deployments.going_on():
                if self._stopping.is_set():
                    break
                logfields.begin(build_id=deployment.build_id)
                good &= self._looked_after(deployment, later)
        except BuilderError as error:
            log.warning("deployments have to wait: %s", error)
            return False
        finally:
            logfields.begin()
        return good

    def _looked_after(self, deployment: Deployment, later: str | None) -> bool:
        """As `_look_after`; a defect that one app brings to light is not the others'."""
        try:
            return self._look_after(deployment, later)
        except BuilderError:
            raise
        except Exception:
            log.exception("the deployment to %s has to wait", deployment.app)
            return False

    def _look_after(self, deployment: Deployment, later: str | None) -> bool:
        """Whether Marathon told how the app is; one app's trouble is not the others'."""
        now = self._clock()
        if self._marathon is None:
            why = "no Marathon is configured any more (BUILDER_MARATHON_URL)"
            self._record(deployment, rules.given_up(deployment, why, now))
            return True
        try:
            app = self._marathon.app(deployment.app)
        except MarathonError as error:
            log.warning("the deployment to %s has to wait: %s", deployment.app, error)
            self._record(deployment, rules.unanswered(deployment, error.message, now))
            return False
        step = rules.look(deployment, app, later, now)
        stored = self._record(deployment, step.deployment)
        if step.command is not None and not self._stopping.is_set():
            answer = self._marathon.carry_out(step.command)
            log.info("%s of %s: %s", type(step.command).__name__, stored.app, answer)
            self._record(stored, rules.told(stored, step.command, answer, self._clock()))
        return True

    def _record(self, before: Deployment, after: Deployment) -> Deployment:
        """Durable on return, if something has changed."""
        if after == before:
            return before
        due = () if after.going_on or self._told is None else self._told(after, self._clock())
        stored = self._deployments.record(after, due)
        if after.state is not before.state or not after.going_on:
            level = logging.WARNING if after.state in rules.CAME_TO_NOTHING else logging.INFO
            what = f"{after.image} in {after.app}: {after.state.value}"
            log.log(level, "%s%s", what, f" ({after.message})" if after.message else "")
        return stored
