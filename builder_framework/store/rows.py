"""Builds to rows and back; a row that was written reads as an equal build.

Secrets of requests are sealed there; everything else of a build is no secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from builder_framework import codec
from builder_framework.domain import dedupe
from builder_framework.domain.model import Attempt, Build, BuildRequest, Placement, Result, Stop
from builder_framework.domain.states import State
from builder_framework.protocol import Phase, Reason
from builder_framework.redact import Secret
from builder_framework.seal import Sealer, key_of
from builder_framework.store import seals
from builder_framework.store.seals import Opener


def _dump(value: Any, seal: codec.Seal = Secret.reveal) -> str:
    plain = codec.to_jsonable(value, seal)
    return text(json.dumps(plain, separators=(",", ":"), ensure_ascii=False))


def text(value: str) -> str:
    """`value` as every database takes it: PostgreSQL has no NUL, UTF-8 no lone surrogates."""
    return value.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


SHORT = 100
"""Characters of a label's value that are looked up (`build_labels.short`)."""


def label_row(build_id: str, seq: int, key: str, value: str) -> dict[str, Any]:
    """The columns of table `build_labels`."""
    whole = text(value)
    short = whole[:SHORT]
    return {"build_id": build_id, "seq": seq, "key": text(key), "value": whole, "short": short}


def build_row(build: Build, sealer: Sealer) -> dict[str, Any]:
    """The columns of table `builds`, without `seq`."""
    return {
        "id": build.id,
        "owner": build.owner,
        "git_url": build.request.origin,
        "project": build.request.project,
        "request": _request_text(build.request, build.id, sealer),
        "created_at": build.created_at,
        "supersedes": " ".join(build.supersedes) or None,
        "upload_id": build.request.source.upload.id if build.request.source.upload else None,
        **changing_row(build),
    }


def changing_row(build: Build) -> dict[str, Any]:
    """The columns of table `builds` that are written more than once."""
    return {
        "state": build.state.value,
        "phase": build.phase.value if build.phase else None,
        "reason": build.reason.value if build.reason else None,
        "message": text(build.message) if build.message else build.message,
        "result": _dump(build.result),
        "stop": _dump(build.stop) if build.stop else None,
        "state_since": build.state_since,
        "ended_at": build.ended_at,
        "not_before": build.not_before,
        "failures": build.failures,
        "log_complete": build.log_complete,
        "joined": build.joined,
        "version": build.version,
    }


def _request_text(request: BuildRequest, build_id: str, sealer: Sealer) -> str:
    context = seals.of_request(build_id)
    return _dump(request, lambda secret: sealer.seal(secret.reveal(), context))


def identity(request: BuildRequest, sealer: Sealer) -> str:
    """A digest of all that decides what comes of a request, secrets included."""
    return sealer.digest(_dump(dedupe.essence(request)))


def _request(text: str, build_id: str, opener: Opener) -> BuildRequest:
    context = seals.of_request(build_id)
    return codec.decode(BuildRequest, text, lambda sealed: Secret(opener.open(sealed, context)))


def renewed_request(text: str, build_id: str, sealer: Sealer) -> str | None:
    """`builds.request` with every secret sealed by the first key; None when it is so already.

    Raises ProtocolError, SealError.
    """
    context, keys = seals.of_request(build_id), set()

    def opened(sealed: str) -> Secret:
        keys.add(key_of(sealed))
        return Secret(sealer.open(sealed, context))

    request = codec.decode(BuildRequest, text, opened)
    if keys <= {sealer.key_ids[0]}:
        return None
    return _request_text(request, build_id, sealer)


def attempt_row(build_id: str, attempt: Attempt) -> dict[str, Any]:
    """The columns of table `attempts`."""
    place = attempt.placement
    return {
        "build_id": build_id,
        "number": attempt.number,
        "task_id": attempt.task_id,
        "agent_id": place.agent_id,
        "hostname": place.hostname,
        "agent_url": place.agent_url,
        "slot": place.slot,
        "executor_id": place.executor_id,
        "framework_id": place.framework_id,
        "placed_at": attempt.placed_at,
        "running_at": attempt.running_at,
        "ended_at": attempt.ended_at,
        "reason": attempt.reason.value if attempt.reason else None,
        "message": text(attempt.message) if attempt.message else attempt.message,
        "log_offset": attempt.log_offset,
        "digest": attempt.digest,
        "lease_until": attempt.lease_until,
    }


def to_attempt(row: Mapping[str, Any]) -> Attempt:
    """The inverse of `attempt_row`."""
    placement = Placement(
        agent_id=row["agent_id"],
        hostname=row["hostname"],
        agent_url=row["agent_url"],
        slot=row["slot"],
        executor_id=row["executor_id"],
        framework_id=row["framework_id"],
    )
    return Attempt(
        number=row["number"],
        task_id=row["task_id"],
        placement=placement,
        placed_at=row["placed_at"],
        running_at=row["running_at"],
        ended_at=row["ended_at"],
        reason=Reason(row["reason"]) if row["reason"] else None,
        message=row["message"],
        log_offset=row["log_offset"],
        digest=row["digest"],
        lease_until=row["lease_until"],
    )


def to_build(
    row: Mapping[str, Any], attempts: Iterable[Mapping[str, Any]], opener: Opener
) -> Build:
    """The inverse of `build_row` and `attempt_row` together. Raises ProtocolError, SealError."""
    return Build(
        id=row["id"],
        request=_request(row["request"], row["id"], opener),
        owner=row["owner"],
        created_at=row["created_at"],
        state=State(row["state"]),
        phase=Phase(row["phase"]) if row["phase"] else None,
        reason=Reason(row["reason"]) if row["reason"] else None,
        message=row["message"],
        attempts=tuple(to_attempt(attempt) for attempt in attempts),
        result=codec.decode(Result, row["result"]),
        stop=codec.decode(Stop, row["stop"]) if row["stop"] else None,
        not_before=row["not_before"],
        state_since=row["state_since"],
        ended_at=row["ended_at"],
        failures=row["failures"],
        log_complete=row["log_complete"],
        supersedes=tuple((row["supersedes"] or "").split()),
        joined=row["joined"],
        version=row["version"],
    )
