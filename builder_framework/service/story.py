"""One line for each change of state or phase, for whoever reads the framework's log at night."""

from __future__ import annotations

import logging

from builder_framework import logfields
from builder_framework.domain.model import Build
from builder_framework.domain.states import State

log = logging.getLogger(__name__)


def tell(previous: Build | None, build: Build) -> None:
    """Say what happened to a build, if it is worth a line."""
    if previous is not None and (previous.state, previous.phase) == (build.state, build.phase):
        return
    facts = [build.state.value]
    if build.phase is not None:
        facts.append(build.phase.value)
    if build.state is State.QUEUED and previous is None:
        facts.append(f"from {build.owner}: {', '.join(build.request.titles)}")
    if build.state is State.STAGING and build.current is not None:
        place = build.current.placement
        facts.append(f"attempt {build.current.number} on {place.hostname} ({place.agent_id})")
    if build.reason is not None:
        facts.append(build.reason.value)
    if build.message:
        facts.append(build.request.redactor().text(build.message))
    if build.state is State.SUCCEEDED and build.result.digest:
        facts.append(build.result.digest)
    with logfields.about(build_id=build.id):
        log.info("build %s: %s", build.id, " ".join(facts))
