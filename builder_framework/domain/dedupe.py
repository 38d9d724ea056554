"""Which requests ask for what another build makes or has made: then that one does for both. Pure.

Opt-in, and only for sources that cannot change: a branch may have moved since the other build
began, and no newer commit may be dropped.
"""

from __future__ import annotations

import re
from dataclasses import replace

from builder_framework.domain.model import Build, BuildRequest, Dedupe, Resources, Supersede
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
    """What decides over the image that is made, who is told of it, and with which credentials.

    Two requests with the same essence may share a build: when it has to be done, where, and what
    labels it has do not matter to what comes out.
    """
    upload = request.source.upload
    if upload is not None:
        request = replace(request, source=Source(upload=_content(upload)))
    return replace(
        request,
        timeout=0.0,
        queue_ttl=0.0,
        resources=Resources(),
        constraints=(),
        priority=0,
        labels={},
        max_attempts=0,
        supersede=Supersede.NONE,
        group=None,
        dedupe=Dedupe.OFF,
        engine=None,
        exclusive=False,
    )


def _content(upload: UploadSource) -> UploadSource:
    return replace(upload, id="", token=Secret(""))


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
        and other.ended_at is not None
        and now <= other.ended_at + window
    )
