"""Which requests ask for what another build makes or has made: then that one does for both. Pure.

Opt-in, and only for sources that cannot change: a branch may have moved since the other build
began, and no newer commit may be dropped.
"""

from __future__ import annotations

import re
from dataclasses import replace

from builder_framework.domain.model import Build, BuildRequest, Dedupe
from builder_framework.domain.states import State
from builder_framework.protocol import CacheUse
from builder_framework.recipe import GitSource, Source, TarballSource, UploadSource
from builder_framework.redact import Secret

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def is_fixed(source: Source) -> bool:
    """Whether the source is the same whenever it is fetched."""
    match source.given:
        case GitSource(ref=ref):
            return ref is not None and _COMMIT.fullmatch(ref) is not None
        case TarballSource(sha256=sha256):
            return sha256 is not None
        case _:
            return True


def applies(request: BuildRequest) -> bool:
    """Whether the request may be given another build, and its build to others."""
    return request.dedupe is not Dedupe.OFF and is_fixed(request.source)


def essence(request: BuildRequest) -> BuildRequest:
    """All but for how long it may wait and take, how urgent it is, and what labels it has.

    What comes of it, who is told of it, where and how it may be done, and what may end it: whoever
    is given another build has all of that as he asked for it.
    """
    upload = request.source.upload
    if upload is not None:
        request = replace(request, source=Source(upload=_content(upload)))
    return replace(
        request,
        timeout=0.0,
        queue_ttl=0.0,
        priority=0,
        labels={},
        max_attempts=0,
        dedupe=Dedupe.OFF,
    )


def _content(upload: UploadSource) -> UploadSource:
    return replace(upload, id="", token=Secret(""))


def is_of(build: Build, wanted: BuildRequest, owner: str) -> bool:
    """Whether it is a build of that essence which may be given to who asks for it: both want it."""
    return build.owner == owner and applies(build.request) and essence(build.request) == wanted


def retags(later: Build, request: BuildRequest) -> bool:
    """Whether `later` puts a tag of the request on something else.

    An older build does not do for the request then: its images are not, or will not be, what their
    tags say.
    """
    return not set(later.request.images).isdisjoint(request.images)


def joins(request: BuildRequest, other: Build, now: float, window: float) -> bool:
    """Whether a request with the same essence as that of `other` gets that build.

    `window`: seconds for which a finished build counts.
    """
    if other.state is State.CANCELLING or other.stop is not None:
        return False
    if not other.terminal:
        return True
    asked_again = request.recipe.no_cache or request.recipe.pull or request.cache is CacheUse.NONE
    return (
        request.dedupe is Dedupe.FINISHED
        and other.state is State.SUCCEEDED
        and not asked_again
        and request.deploy is None  # it would not be deployed once more
        and other.ended_at is not None
        and now <= other.ended_at + window
    )
