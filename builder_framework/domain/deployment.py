"""A new image on its way into an app of Marathon: what is done next follows from what is seen.

Pure, and without memory beside the stored row. Whoever takes a row over looks at the app and
decides again, so a process may end at any moment: a step that was taken is seen, one that was not
is taken now. See docs/adr/0027-deploy-after-build.md.
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from builder_framework.domain.model import Build
from builder_framework.domain.states import State
from builder_framework.validate import image_reference

MAX_MESSAGE_LENGTH = 500
"""Characters of what Marathon said that are kept."""

PATIENCE = 86400.0
"""Seconds for which a Marathon that does not answer is asked what became of a deployment, once
the deployment's own time is over."""


class DeploymentState(str, enum.Enum):
    """Of a deployment; the build is SUCCEEDED in each of them.

    WAITING: nothing was changed yet. DEPLOYING: Marathon was told, or is being told.
    ROLLING_BACK: it is told to go back. SUCCEEDED: the app runs the image. ROLLED_BACK: the app
    runs what it ran before. FAILED: neither; `message` says what is known. SKIPPED: the image of a
    later build is there, or on its way.
    """

    WAITING = "WAITING"
    DEPLOYING = "DEPLOYING"
    ROLLING_BACK = "ROLLING_BACK"
    SUCCEEDED = "SUCCEEDED"
    ROLLED_BACK = "ROLLED_BACK"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


GOING_ON = (DeploymentState.WAITING, DeploymentState.DEPLOYING, DeploymentState.ROLLING_BACK)
CAME_TO_NOTHING = (DeploymentState.ROLLED_BACK, DeploymentState.FAILED)


@dataclass(frozen=True)
class Deployment:
    """One build's image for one app. Times in seconds since the epoch, `timeout` in seconds.

    `image`: by digest. `started_at`: when the intent to tell Marathon was stored. `previous`: the
    app's image then, and `base` the app's version then. `unsure`: Marathon may have been told
    before. `marathon_id`: of the deployment there. `back_until`: when a rollback has to be over.
    `version` counts changes, for the store's compare-and-set.
    """

    build_id: str
    app: str
    image: str
    timeout: float
    created_at: float
    state: DeploymentState = DeploymentState.WAITING
    message: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    previous: str | None = None
    base: str | None = None
    unsure: bool = False
    marathon_id: str | None = None
    back_until: float | None = None
    version: int = 0

    @property
    def going_on(self) -> bool:
        """Whether there is something left to do."""
        return self.state in GOING_ON

    @property
    def digest(self) -> str | None:
        """Of the image."""
        return self.image.partition("@")[2] or None

    @property
    def deadline(self) -> float:
        """When what it does now should be over."""
        if self.back_until is not None:
            return self.back_until
        return (self.created_at if self.started_at is None else self.started_at) + self.timeout


@dataclass(frozen=True)
class Running:
    """A deployment that goes on in Marathon. `version`: the one that its apps get by it."""

    id: str
    version: str


@dataclass(frozen=True)
class App:
    """An app as Marathon shows it. `deployments`: those that go on and change it.

    `version`: that of its last change but for scaling and restarts. `container`: as it is there;
    None when there is none. `healthy`: None without health checks.
    `failure`: what the last task of this version died of.
    """

    version: str
    container: Mapping[str, Any] | None
    deployments: tuple[Running, ...] = ()
    instances: int = 0
    running: int = 0
    healthy: int | None = None
    failure: str | None = None

    @property
    def image(self) -> str | None:
        """What it runs; None when that is no image."""
        docker = (self.container or {}).get("docker")
        image = docker.get("image") if isinstance(docker, Mapping) else None
        return image if isinstance(image, str) else None

    @property
    def whole(self) -> bool:
        """Whether all its tasks run, and are healthy where somebody looks."""
        return self.running >= self.instances and (
            self.healthy is None or self.healthy >= self.instances
        )


@dataclass(frozen=True)
class Put:
    """Tell Marathon: the app's container is this one from now on."""

    app: str
    container: Mapping[str, Any]


@dataclass(frozen=True)
class Revert:
    """Tell Marathon to undo a deployment of its own."""

    marathon_id: str


Command = Put | Revert


@dataclass(frozen=True)
class Accepted:
    """Marathon does it, as the deployment of that id."""

    marathon_id: str


@dataclass(frozen=True)
class Locked:
    """Another deployment changes the app: nothing was done."""

    by: tuple[str, ...]


@dataclass(frozen=True)
class Gone:
    """There is nothing to undo: that deployment is over."""


@dataclass(frozen=True)
class Refused:
    """Marathon will not do it; nothing was done."""

    why: str


@dataclass(frozen=True)
class Unknown:
    """No answer that tells: it may have been done."""

    why: str


Answer = Accepted | Locked | Gone | Refused | Unknown


@dataclass(frozen=True)
class Step:
    """`deployment` is to be stored first, then `command` carried out."""

    deployment: Deployment
    command: Command | None = None


def due(previous: Build | None, build: Build, now: float) -> Deployment | None:
    """What the success of a build makes due; None when it is none, or nobody asked."""
    asked = build.request.deploy
    ended = previous is None or not previous.terminal
    if asked is None or not ended or build.state is not State.SUCCEEDED:
        return None
    name = image_reference(build.request.images[0]).name
    made = Deployment(build.id, asked.app, name, asked.timeout, now)
    if build.result.digest is None:
        return _over(made, DeploymentState.FAILED, "the digest of the image is not known", now)
    return replace(made, image=f"{name}@{build.result.digest}")


def look(deployment: Deployment, app: App | None, later: str | None, now: float) -> Step:
    """What to do about an app that looks so; None: there is none.

    `later`: a build that was accepted later and whose deployment to the same app did not come to
    nothing.
    """
    if deployment.state is DeploymentState.WAITING and later is not None:
        why = f"build {later}, which was asked for later, has this app: nothing was changed"
        return Step(_over(deployment, DeploymentState.SKIPPED, why, now))
    if app is None or app.image is None:
        why = "there is no such app" if app is None else "the app has no Docker image"
        return Step(_failed(deployment, f"{why}: make it once, only its image is changed", now))
    if deployment.state is DeploymentState.WAITING:
        return _waiting(deployment, app, now)
    if deployment.state is DeploymentState.DEPLOYING:
        return _deploying(deployment, app, now)
    return _rolling_back(deployment, app, now)


def told(deployment: Deployment, command: Command, answer: Answer, now: float) -> Deployment:
    """The deployment once Marathon has answered, or has not."""
    match answer:
        case Accepted(marathon_id=marathon_id) if isinstance(command, Put):
            return replace(deployment, marathon_id=marathon_id, message=None)
        case Locked(by=by) if isinstance(command, Put) and not deployment.unsure:
            return replace(
                deployment,
                state=DeploymentState.WAITING,
                started_at=None,
                previous=None,
                base=None,
                message=_locked(by),
            )
        case Refused(why=why) if isinstance(command, Put):
            return _failed(deployment, f"Marathon refused: {why}; nothing was changed", now)
        case Refused(why=why):
            cause = deployment.message
            return _failed(deployment, f"{cause}; and Marathon refused to undo it: {why}", now)
        case _:
            # What became of it is seen at the next look.
            return deployment


def unanswered(deployment: Deployment, why: str, now: float) -> Deployment:
    """Marathon does not tell how the app is."""
    if deployment.state is DeploymentState.WAITING and now > deployment.deadline:
        return _failed(deployment, f"{why}; nothing was changed", now)
    if now > deployment.deadline + PATIENCE:
        return _failed(deployment, f"{why}; what became of the deployment is not known", now)
    if deployment.state is DeploymentState.ROLLING_BACK:
        return deployment
    return replace(deployment, message=_short(why))


def given_up(deployment: Deployment, why: str, now: float) -> Deployment:
    """Nobody will go on with it."""
    return _failed(deployment, why, now)


def with_image(container: Mapping[str, Any], image: str) -> dict[str, Any]:
    """The same container with another image; nothing else of it is changed."""
    changed: dict[str, Any] = copy.deepcopy(dict(container))
    changed["docker"]["image"] = image
    return changed


def _waiting(deployment: Deployment, app: App, now: float) -> Step:
    if app.image == deployment.image and not app.deployments:
        return Step(_succeeded(deployment, "the app had this image already", now))
    if app.deployments:
        why = _locked([each.id for each in app.deployments])
        if now > deployment.deadline:
            late = f"{why}, for more than {deployment.timeout:g} s; nothing was changed"
            return Step(_failed(deployment, late, now))
        return Step(replace(deployment, message=_short(why)))
    begun = replace(
        deployment,
        state=DeploymentState.DEPLOYING,
        message=None,
        started_at=now,
        previous=app.image,
        base=app.version,
    )
    return Step(begun, Put(begun.app, with_image(app.container or {}, begun.image)))


def _deploying(deployment: Deployment, app: App, now: float) -> Step:
    if app.image == deployment.image:
        return _taken(deployment, app, now)
    if app.image != deployment.previous:
        return Step(_failed(deployment, f"somebody else gave the app {app.image}", now))
    if deployment.marathon_id is not None:
        return Step(_failed(deployment, f"somebody else gave the app back {app.image}", now))
    if app.version != deployment.base:
        why = "the app was changed meanwhile, and has its old image: it is left alone"
        return Step(_failed(deployment, why, now))
    if now > deployment.deadline:
        why = f"Marathon did not take it within {deployment.timeout:g} s; nothing was changed"
        return Step(_failed(deployment, why, now))
    again = replace(deployment, unsure=True)
    return Step(again, Put(again.app, with_image(app.container or {}, again.image)))


def _taken(deployment: Deployment, app: App, now: float) -> Step:
    """The app has the image; Marathon rolls it out, or has."""
    own = _own(deployment, app)
    late = now > deployment.deadline
    if own is None and app.whole:
        return Step(_succeeded(deployment, None, now))
    how = _tasks(app)
    if not late:
        known = deployment.marathon_id if own is None else own
        return Step(replace(deployment, marathon_id=known, message=_short(how)))
    why = f"not over after {deployment.timeout:g} s: {how}"
    if own is None:
        # What does not go on cannot be undone by Marathon.
        return Step(_failed(deployment, f"ended by somebody, {why}; it was not rolled back", now))
    back = replace(
        deployment,
        state=DeploymentState.ROLLING_BACK,
        marathon_id=own,
        message=_short(why),
        back_until=now + deployment.timeout,
    )
    return Step(back, Revert(own))


def _rolling_back(deployment: Deployment, app: App, now: float) -> Step:
    cause, late = deployment.message or "", now > deployment.deadline
    if app.image == deployment.previous:
        if not app.deployments:
            why = f"{cause}; the app has {app.image} again"
            return Step(_over(deployment, DeploymentState.ROLLED_BACK, why, now))
        if late:
            why = f"{cause}; the way back to {app.image} is not over either: {_tasks(app)}"
            return Step(_failed(deployment, why, now))
        return Step(deployment)
    if app.image != deployment.image:
        return Step(_failed(deployment, f"{cause}; then somebody gave the app {app.image}", now))
    own = deployment.marathon_id
    if own is not None and any(each.id == own for each in app.deployments):
        if late:
            return Step(_failed(deployment, f"{cause}; it could not be rolled back", now))
        return Step(deployment, Revert(own))
    if app.whole:
        return Step(_succeeded(deployment, f"{cause}; then it was over after all", now))
    if late:
        return Step(_failed(deployment, f"{cause}; it ended before it could be undone", now))
    return Step(deployment)


def _own(deployment: Deployment, app: App) -> str | None:
    """Ours among those that go on, by its id or, where the answer got lost, by its version."""
    known = deployment.marathon_id
    same = (
        x.id for x in app.deployments if x.id == known or (not known and x.version == app.version)
    )
    return next(same, None)


def _tasks(app: App) -> str:
    healthy = "" if app.healthy is None else f", {app.healthy} healthy"
    failure = f"; the last one that failed: {app.failure}" if app.failure else ""
    return f"{app.running} of {app.instances} tasks run{healthy}{failure}"


def _locked(by: Sequence[str]) -> str:
    if not by:
        return "Marathon has other deployments before this one"
    return f"the app is being changed by another deployment ({', '.join(by)})"


def _succeeded(deployment: Deployment, message: str | None, now: float) -> Deployment:
    return _over(deployment, DeploymentState.SUCCEEDED, message, now)


def _failed(deployment: Deployment, message: str, now: float) -> Deployment:
    return _over(deployment, DeploymentState.FAILED, message, now)


def _over(
    deployment: Deployment, state: DeploymentState, message: str | None, now: float
) -> Deployment:
    cut = None if message is None else _short(message)
    return replace(deployment, state=state, message=cut, ended_at=now)


def _short(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_LENGTH else f"{text[: MAX_MESSAGE_LENGTH - 1]}…"
