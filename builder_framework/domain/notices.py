"""What webhooks tell of a build. Pure: it follows from the build before and after a change."""

from __future__ import annotations

import enum
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from builder_framework import codec
from builder_framework.domain.delivery import Delivery
from builder_framework.domain.deployment import Deployment
from builder_framework.domain.model import Build, BuildRequest
from builder_framework.recipe import GitSource, TarballSource, TaskSource, UploadSource
from builder_framework.redact import Redactor

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
    PHASE = "build.phase"
    FINISHED = "build.finished"
    DEPLOYED = "build.deployed"


def no_notices(_previous: Build | None, _build: Build, _now: float) -> tuple[Delivery, ...]:
    """Nobody is told anything."""
    return ()


def story(build: Build) -> tuple[tuple[Notice, float], ...]:
    """Everything there is to tell of a build so far but for phases, in order, and when it happened.

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


def message_id(build_id: str, told: object, place: object) -> str:
    """Of what is `told` to one receiver. Made from that: the database then refuses a second row.

    Not from the receiver's URL: everybody may see an id, and could try guesses of a token on it.
    """
    digest = hashlib.sha256(f"{build_id}\n{told}\n{place}".encode()).hexdigest()
    return f"msg_{digest[:32]}"


def is_message_id(text: str) -> bool:
    """Whether `text` could be the id of one of our messages."""
    return _MESSAGE_ID.fullmatch(text) is not None


def payload(
    build: Build,
    notice: Notice,
    at: float,
    sequence: int,
    link: str | None,
    deployment: Deployment | None = None,
) -> str:
    """The body: `type`, `timestamp` and a thin `data` without any secret, as JSON.

    `deployment`: what it is about, when it is DEPLOYED.

    Below 20 kB, which Standard Webhooks ask for, with the limits of the API's schema.
    """
    redactor = build.request.redactor()
    first = next((a.running_at for a in build.attempts if a.running_at is not None), None)
    data: dict[str, Any] = {
        "id": build.id,
        "sequence": sequence,
        "state": build.state.value,
        "phase": build.phase.value if build.phase else None,
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
    if deployment is not None:
        data["deployment"] = {
            "state": deployment.state.value,
            "app": deployment.app,
            "image": redactor.text(deployment.image),
            "previous": _optional(deployment.previous, redactor.text),
            "message": _optional(deployment.message, redactor.text, MAX_MESSAGE_LENGTH),
            "ended_at": codec.timestamp(deployment.ended_at),
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
        case TaskSource(image=image):
            return {"task": {"image": redactor.text(image)}}
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
