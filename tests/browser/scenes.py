"""Builds to look at, made by the real machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from api import schemas
from builder_framework.domain import events as ev
from builder_framework.domain.model import BuildRequest, Placement
from builder_framework.ports import RequestPolicy
from builder_framework.protocol import FailedStep, Phase, PushedImage, Reason, Report, Steps
from tests.unit.builds_double import BODY, MemoryBuilds

COMMIT = "4f1c9a0be3d25b7781c6f0a9d3e2b5c4a6978812"
DIGEST = "sha256:" + "9b" * 32
POLICY = RequestPolicy()


def asked(**fields: Any) -> BuildRequest:
    """A request, as the API makes one of its body."""
    return schemas.parse_build({**BODY, **fields}, POLICY).to_request(POLICY)


def queued(builds: MemoryBuilds, owner: str = "ann", **fields: Any) -> str:
    """A build that waits; its id."""
    view, _ = builds.submit(asked(**fields), owner)
    return view.build.id


def running(builds: MemoryBuilds, owner: str = "ann", **fields: Any) -> str:
    """A build in phase BUILDING."""
    build_id = queued(builds, owner, **fields)
    builds.place(build_id)
    report = Report(phase=Phase.BUILDING, commit=COMMIT)
    builds.apply(build_id, ev.TaskProgressed(1, report))
    return build_id


def succeed(builds: MemoryBuilds, build_id: str, seconds: float = 20.0) -> None:
    """It ends well, with all there is to tell of it."""
    builds._now += seconds
    images = tuple(PushedImage(image, DIGEST) for image in builds.builds[build_id].request.images)
    report = Report(
        commit=COMMIT,
        digest=DIGEST,
        images=images,
        size=48_300_000,
        layers=6,
        steps=Steps(9, 4),
        timings={
            "starting": seconds * 0.05,
            "cloning": seconds * 0.1,
            "building": seconds * 0.65,
            "pushing": seconds * 0.15,
            "total": seconds * 0.95,
        },
    )
    builds.apply(build_id, ev.TaskSucceeded(1, report), ev.LogCompleted())


def fail(builds: MemoryBuilds, build_id: str, message: str = "RUN make: exit code 2") -> None:
    """A step of its Dockerfile fails."""
    report = Report(
        commit=COMMIT,
        failed_step=FailedStep("[3/5] RUN make", 7, 2),
        timings={"cloning": 1.2, "building": 3.4, "total": 5.0},
    )
    failed = ev.TaskFailed(1, Reason.STEP_FAILED, message, report)
    builds.apply(build_id, failed, ev.LogCompleted())


def elsewhere(hostname: str) -> Placement:
    """On an agent of that name."""
    return Placement("agent-2", hostname, "http://10.0.0.2:5051", 0, "executor-2", "framework-1")


def moved(build_id: str, builds: MemoryBuilds, **changes: Any) -> None:
    """Its request, as no form would have it."""
    builds.set(build_id, request=replace(builds.builds[build_id].request, **changes))
