"""What webhooks tell of a build. Pure: it follows from the build before and after a change."""

from __future__ import annotations

import enum
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builder_framework import codec
from builder_framework.domain import eremetic
from builder_framework.domain.delivery import Delivery
from builder_framework.domain.model import Build, BuildRequest
from builder_framework.recipe import GitSource, TarballSource, UploadSource
from builder_framework.redact import Redactor, Secret

MAX_MESSAGE_LENGTH = 500
"""Characters of the build's message; the API has all of it."""

MAX_LABELS_BYTES = 2048
"""Of all labels as JSON. Beyond that they are left out, all of them."""

_MESSAGE_ID = re.compile(r"msg_[0-9a-f]{32}")

Announce = Callable[["Build | None", Build, float], tuple[Delivery, ...]]
"""The deliveries that a change (before, after, at) makes due."""


class Notice(str, enum.Enum):
    """The types of messages."""

    QUEUED = "build.queued"
    STARTED = "build.started"
    RETRIED = "build.retried"
    FINISHED = "build.finished"


def no_notices(_previous: Build | None, _build: Build, _now: float) -> tuple[Delivery, ...]:
    """Nobody is told anything."""
    return ()


def story(build: Build) -> tuple[tuple[Notice, float], ...]:
    """Everything there is to tell of a build so far, in order, and when it happened.

    What comes later is only ever added at the end, so an entry's place is its sequence number.
    """
    told = [(Notice.QUEUED, build.created_at)]
    started = False
    for attempt in build.attempts:
        if attempt.number > 1:
            told.append((Notice.RETRIED, attempt.placed_at))
        if attempt.running_at is not None and not started:
            told.append((Notice.STARTED, attempt.running_at))
            started = True
    if build.terminal:
        told.append((Notice.FINISHED, build.ended_at or build.state_since))
    return tuple(told)


@dataclass(frozen=True)
class Announcer:
    """Tells the operator's URLs and the build's own. `base_url`: of the API, for links."""

    urls: tuple[Secret, ...] = ()
    base_url: str | None = None

    def deliveries_of(
        self, previous: Build | None, build: Build, now: float
    ) -> tuple[Delivery, ...]:
        """What the change from `previous` to `build` makes due, in order."""
        known = 0 if previous is None else len(story(previous))
        # A URL that the operator and the build both name is told once.
        urls = tuple(dict.fromkeys((*self.urls, *build.request.webhooks)))
        told = tuple(
            Delivery(
                id=_message_id(build.id, sequence, place),
                build_id=build.id,
                event=notice.value,
                url=url,
                payload=payload(build, notice, at, sequence, self._link(build)),
                created_at=now,
                next_at=now,
            )
            for sequence, (notice, at) in enumerate(story(build), start=1)
            if sequence > known
            for place, url in enumerate(urls)
        )
        ended = build.terminal and known < len(story(build))
        return (*told, *_callback(build, now)) if ended else told

    def _link(self, build: Build) -> str | None:
        if self.base_url is None:
            return None
        return f"{self.base_url.rstrip('/')}/api/v1/builds/{build.id}"


def _callback(build: Build, now: float) -> tuple[Delivery, ...]:
    """Of a task that has one (`eremetic.callback`)."""
    task = build.request.task
    if task is None or task.callback is None:
        return ()
    return (
        Delivery(
            # Besides those of all webhooks, whose places are counted from 0.
            id=_message_id(build.id, len(story(build)), -1),
            build_id=build.id,
            event=Notice.FINISHED.value,
            url=task.callback,
            payload=eremetic.callback(build),
            created_at=now,
            next_at=now,
        ),
    )


def _message_id(build_id: str, sequence: int, place: int) -> str:
    # Made from what it tells: the database then refuses a second row for the same news. Not from
    # the URL: everybody may see an id, and could try guesses of a token on it.
    digest = hashlib.sha256(f"{build_id}\n{sequence}\n{place}".encode()).hexdigest()
    return f"msg_{digest[:32]}"


def is_message_id(text: str) -> bool:
    """Whether `text` could be the id of one of our messages."""
    return _MESSAGE_ID.fullmatch(text) is not None


def payload(build: Build, notice: Notice, at: float, sequence: int, link: str | None) -> str:
    """The body: `type`, `timestamp` and a thin `data` without any secret, as JSON.

    Below 20 kB, which Standard Webhooks ask for, with the limits of the API's schema.
    """
    redactor = build.request.redactor()
    first = next((a.running_at for a in build.attempts if a.running_at is not None), None)
    data: dict[str, Any] = {
        "id": build.id,
        "sequence": sequence,
        "state": build.state.value,
        "reason": build.reason.value if build.reason else None,
        "message": _optional(build.message, redactor.text, MAX_MESSAGE_LENGTH),
        "owner": build.owner,
        "source": _source(build.request, redactor),
        "commit": _optional(build.result.commit, redactor.text),
        "images": [redactor.text(image) for image in build.request.images],
        "digest": _optional(build.result.digest, redactor.text),
        "labels": _labels(
            {redactor.text(k): redactor.text(v) for k, v in build.request.labels.items()}
        ),
        "attempts": len(build.attempts),
        "created_at": codec.timestamp(build.created_at),
        "started_at": codec.timestamp(first),
        "ended_at": codec.timestamp(build.ended_at),
    }
    if link is not None:
        data["link"] = link
    return _json({"type": notice.value, "timestamp": codec.timestamp(at), "data": data})


def _source(request: BuildRequest, redactor: Redactor) -> dict[str, Any]:
    match request.source.given:
        case GitSource(url=url, ref=ref):
            return {"git": {"url": redactor.git_url(url), "ref": _optional(ref, redactor.text)}}
        case TarballSource() as tarball:
            return {"tarball": {"url": redactor.text(tarball.url)}}
        case UploadSource(sha256=sha256, size=size):
            return {"upload": {"sha256": sha256, "size": size}}
        case _:
            return {"inline": {}}


def _optional(
    text: str | None, redact: Callable[[str], str], limit: int | None = None
) -> str | None:
    if text is None:
        return None
    masked = redact(text)
    # Masked before it is cut: half a secret would not be recognised.
    return masked if limit is None or len(masked) <= limit else f"{masked[: limit - 1]}…"


def _labels(labels: dict[str, str]) -> dict[str, str] | None:
    return labels if len(_json(labels).encode()) <= MAX_LABELS_BYTES else None


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
