"""Which older builds a new one makes superfluous. Pure; both have to want it.

A group is what one of them stands for: by default the source's ref and the images' repositories, so
that two pushes to a branch are one group, whatever their tags say.
"""

from __future__ import annotations

from collections.abc import Iterable

from builder_framework.domain.model import Build, BuildRequest, Supersede
from builder_framework.domain.states import State
from builder_framework.validate import image_reference


def group_of(request: BuildRequest) -> str | None:
    """The group's name; None for builds that are in none."""
    if request.supersede is Supersede.NONE:
        return None
    if request.group is not None:
        return f"named {request.group}"
    repositories = sorted({image_reference(image).name for image in request.images})
    return " ".join([request.origin, request.source.ref or "HEAD", *repositories])


def superseded(
    request: BuildRequest, owner: str, group: str | None, others: Iterable[Build]
) -> tuple[str, ...]:
    """Ids of the builds that end with the acceptance of this request. `group`: the request's."""
    if group is None:
        return ()
    running = request.supersede is Supersede.RUNNING
    return tuple(
        other.id
        for other in others
        if other.owner == owner
        and (other.state is State.QUEUED or (running and _can_be_stopped(other)))
        and group_of(other.request) == group
    )


def _can_be_stopped(build: Build) -> bool:
    return not build.terminal and build.state is not State.CANCELLING
