"""Builds to rows and back; a row that was written reads as an equal build."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from builder_framework import codec
from builder_framework.domain.model import Attempt, Build, BuildRequest, Placement, Result, Stop
from builder_framework.domain.states import State
from builder_framework.protocol import Phase, Reason


def _dump(value: Any) -> str:
    return text(json.dumps(codec.to_jsonable(value), separators=(",", ":"), ensure_ascii=False))


def text(value: str) -> str:
    """`value` as every database takes it: PostgreSQL has no NUL, UTF-8 no lone surrogates."""
    return value.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def build_row(build: Build) -> dict[str, Any]:
    """The columns of table `builds`, without `seq`."""
    return {
        "id": build.id,
        "owner": build.owner,
        "state": build.state.value,
        "phase": build.phase.value if build.phase else None,
        "reason": build.reason.value if build.reason else None,
        "message": text(build.message) if build.message else build.message,
        "git_url": build.request.source.url,
        "request": _dump(build.request),
        "result": _dump(build.result),
        "stop": _dump(build.stop) if build.stop else None,
        "created_at": build.created_at,
        "state_since": build.state_since,
        "ended_at": build.ended_at,
        "not_before": build.not_before,
        "failures": build.failures,
        "log_complete": build.log_complete,
        "supersedes": " ".join(build.supersedes) or None,
        "version": build.version,
    }


UNCHANGING = frozenset({"id", "owner", "git_url", "request", "created_at", "supersedes"})
"""Columns of `builds` that are written once."""


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


def to_build(row: Mapping[str, Any], attempts: Iterable[Mapping[str, Any]]) -> Build:
    """The inverse of `build_row` and `attempt_row` together."""
    return Build(
        id=row["id"],
        request=codec.decode(BuildRequest, row["request"]),
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
        version=row["version"],
    )
