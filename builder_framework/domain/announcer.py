"""What a change of a build makes due, and to whom. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from builder_framework.domain import chat, commit_status, eremetic
from builder_framework.domain.delivery import Delivery
from builder_framework.domain.deployment import Deployment
from builder_framework.domain.model import Build, NotifyRequest
from builder_framework.domain.notices import Notice, message_id, payload, story
from builder_framework.domain.targets import CHATS, FORGES, USUAL, Target
from builder_framework.redact import Secret


@dataclass(frozen=True)
class Told:
    """One thing to tell: when it happened, and what tells it from all else of the build."""

    notice: Notice
    at: float
    sequence: int
    key: str
    deployment: Deployment | None = None


@dataclass(frozen=True)
class Announcer:
    """Tells the operator's URLs and targets, and the build's own. `base_url`: of the API."""

    urls: tuple[Secret, ...] = ()
    base_url: str | None = None
    targets: tuple[Target, ...] = ()

    def deliveries_of(
        self, previous: Build | None, build: Build, now: float
    ) -> tuple[Delivery, ...]:
        """What the change from `previous` to `build` makes due, in order."""
        known = 0 if previous is None else len(story(previous))
        told = [
            Told(notice, at, sequence, str(sequence))
            for sequence, (notice, at) in enumerate(story(build), start=1)
            if sequence > known
        ]
        if phase := _phase(previous, build, now):
            told.append(phase)
        found = [one for each in told for one in self._deliveries(build, each, now)]
        ended = build.terminal and known < len(story(build))
        return (*found, *_callback(build, now)) if ended else tuple(found)

    def deployed(self, build: Build, deployment: Deployment, now: float) -> tuple[Delivery, ...]:
        """What the end of a deployment makes due."""
        at = now if deployment.ended_at is None else deployment.ended_at
        sequence = len(story(build)) + 1
        told = Told(Notice.DEPLOYED, at, sequence, "deployed", deployment)
        return tuple(self._deliveries(build, told, now))

    def _deliveries(self, build: Build, told: Told, now: float) -> Iterator[Delivery]:
        # A URL that the operator and the build both name is told once.
        urls = dict.fromkeys((*self.urls, *build.request.webhooks))
        link = self._link(build, "api/v1")
        body = payload(build, told.notice, told.at, told.sequence, link, told.deployment)
        for place, url in enumerate(urls):
            if told.notice in USUAL:
                yield _delivery(build, told, now, place, url, body)
        asked = {one.target: one for one in build.request.notify}
        for target in self.targets:
            if not target.serves(build.request.project):
                continue
            wish = None if target.always else asked.get(target.name)
            if wish is None and not target.always:
                continue
            message = self._message(build, told, target, wish, body)
            if message is not None:
                url, text = message
                yield _delivery(build, told, now, target.name, url, text, target.name)

    def _message(
        self,
        build: Build,
        told: Told,
        target: Target,
        wish: NotifyRequest | None,
        body: str,
    ) -> tuple[Secret, str] | None:
        """Where one thing is sent to a target, and as what; None when it is not told."""
        passes = target.filter if wish is None else target.filter.narrowed(wish)
        if not passes.passes(told.notice, build):
            return None
        page = self._link(build, "ui")
        if target.kind in CHATS:
            channel = (wish and wish.channel) or target.channel
            text = chat.message(build, told.notice, target.kind, channel, page, told.deployment)
            return target.url, text
        if target.kind in FORGES:
            status = commit_status.status(build, told.notice, target, page)
            return None if status is None else (Secret(status.url), status.body)
        return target.url, body

    def _link(self, build: Build, part: str) -> str | None:
        if self.base_url is None:
            return None
        return f"{self.base_url.rstrip('/')}/{part}/builds/{build.id}"


def _phase(previous: Build | None, build: Build, now: float) -> Told | None:
    """That another phase has begun. What went by between two changes is not told."""
    if build.terminal or build.phase is None:
        return None
    key = _place(build)
    if previous is not None and key == _place(previous):
        return None
    return Told(Notice.PHASE, now, len(story(build)), key)


def _place(build: Build) -> str:
    """Attempt and phase that it is in."""
    attempt = build.current.number if build.current else 0
    return f"{attempt} {build.phase.value if build.phase else ''}"


def _delivery(
    build: Build,
    told: Told,
    now: float,
    place: int | str,
    url: Secret,
    body: str,
    target: str | None = None,
) -> Delivery:
    return Delivery(
        id=message_id(build.id, told.key, place),
        build_id=build.id,
        event=told.notice.value,
        url=url,
        payload=body,
        created_at=now,
        next_at=now,
        target=target,
    )


def _callback(build: Build, now: float) -> tuple[Delivery, ...]:
    """Of a task that has one (`eremetic.callback`)."""
    task = build.request.task
    if task is None or task.callback is None:
        return ()
    # Besides those of all webhooks, whose places are counted from 0.
    told = Told(Notice.FINISHED, now, len(story(build)), str(len(story(build))))
    return (_delivery(build, told, now, -1, task.callback, eremetic.callback(build)),)
