"""What Eremetic's clients get: JSON as Go's encoding/json writes it, ending in a line break."""

from __future__ import annotations

import dataclasses
import json
from typing import Any
from urllib.parse import urlsplit

from flask import Response

from builder_framework.domain import eremetic
from builder_framework.domain.model import Build
from builder_framework.domain.tasks import TaskRequest

VERSION = "0.30.0"
"""Of Eremetic, as far as its clients can tell."""

MASK = "*******"
"""What Eremetic shows for a masked variable (database.go)."""

_V0_NAMES = {
    "cpu": "task_cpus",
    "mem": "task_mem",
    "agent_id": "slave_id",
    "agent_constraints": "slave_constraints",
}
_NOT_IN_V0 = frozenset({"volumes_from"})


def answer(status: int, value: Any) -> Response:
    """A JSON body."""
    text = f"{json.dumps(value, separators=(',', ':'))}\n"
    return Response(text, status=status, content_type="application/json; charset=UTF-8")


def failure(status: int, error: str, message: str) -> Response:
    """`errorDocument` of server/handler.go."""
    return answer(status, {"error": error, "message": message})


def version() -> Response:
    """With the quotes: it is JSON, but for its content type."""
    return Response(f'"{VERSION}"\n', content_type="text/plain; charset=UTF-8")


def task(build: Build, asked: TaskRequest) -> dict[str, Any]:
    """Every key of `TaskV1`, in its order, and what a build has besides."""
    redact = build.request.redactor().text
    current = build.current
    place = current.placement if current is not None else None
    url = urlsplit(place.agent_url) if place is not None else None
    sandbox = ""
    if place is not None:
        sandbox = f"/frameworks/{place.framework_id}/executors/{place.executor_id}/runs/latest"
    masked = asked.masked_env
    return {
        "cpu": asked.cpu,
        "mem": asked.mem,
        "command": redact(asked.command),
        "args": _plain(asked.args),
        "user": "root",
        "env": _texts(asked.env, redact),
        "masked_env": None if masked is None else dict.fromkeys(masked, MASK),
        "labels": _texts(asked.labels, redact),
        "image": asked.image,
        "volumes": _plain(asked.volumes),
        "volumes_from": _plain(asked.volumes_from),
        "ports": _plain(asked.ports),
        "status": [{"time": at, "status": one.value} for at, one in eremetic.statuses(build)],
        "id": eremetic.task_name(build.id),
        "name": redact(asked.name),
        "network": asked.network,
        "dns": asked.dns,
        "framework_id": place.framework_id if place is not None else "",
        "agent_id": place.agent_id if place is not None else "",
        "agent_constraints": _plain(asked.agent_constraints),
        "hostname": place.hostname if place is not None else "",
        "retry": max(0, len(build.attempts) - 1),
        # Its path may be a token.
        "callback_uri": MASK if asked.callback is not None else "",
        "sandbox_path": sandbox,
        "agent_ip": (url.hostname or "") if url is not None else "",
        "agent_port": (url.port or 0) if url is not None else 0,
        "force_pull_image": asked.force_pull_image,
        "privileged": asked.privileged,
        "fetch": _plain(asked.fetch),
        "build_id": build.id,
        "commit": build.result.commit,
        "digest": build.result.digest,
        "message": None if build.message is None else redact(build.message),
    }


def in_v0_names(shown: dict[str, Any]) -> dict[str, Any]:
    """A task as the deprecated API shows it (api/api_v0.go)."""
    return {_V0_NAMES.get(k, k): v for k, v in shown.items() if k not in _NOT_IN_V0}


def _plain(items: tuple[Any, ...] | None) -> list[Any] | None:
    if items is None:
        return None
    return [dataclasses.asdict(i) if dataclasses.is_dataclass(i) else i for i in items]  # type: ignore[arg-type]


def _texts(items: Any, redact: Any) -> dict[str, str] | None:
    return None if items is None else {key: redact(value) for key, value in items.items()}
