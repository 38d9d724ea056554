"""What an image says of its origin, in OCI's words. Pure.

https://github.com/opencontainers/image-spec/blob/main/annotations.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from builder_framework.protocol import Reason
from builder_framework.recipe import Output
from executor.failure import BuildFailure

_PREFIX = "org.opencontainers.image."
REVISION = f"{_PREFIX}revision"
SOURCE = f"{_PREFIX}source"
CREATED = f"{_PREFIX}created"
VERSION = f"{_PREFIX}version"
REF_NAME = f"{_PREFIX}ref.name"
BASE_NAME = f"{_PREFIX}base.name"
BASE_DIGEST = f"{_PREFIX}base.digest"


@dataclass(frozen=True)
class Origin:
    """Where an image comes from, as far as it is known. `created`: RFC 3339, the source's time, not
    ours: the same source then gives the same digest again."""

    source: str | None
    revision: str | None
    created: str | None
    version: str | None = None
    ref_name: str | None = None
    base_name: str | None = None
    base_digest: str | None = None


def _standard(origin: Origin) -> dict[str, str]:
    told = {
        CREATED: origin.created,
        SOURCE: origin.source,
        VERSION: origin.version,
        REF_NAME: origin.ref_name,
        BASE_NAME: origin.base_name,
        BASE_DIGEST: origin.base_digest,
    }
    return {key: value for key, value in told.items() if value is not None}


def image_labels(origin: Origin, output: Output) -> dict[str, str]:
    """The image's labels; the revision cannot be another one than it is."""
    return _told(origin, output, output.labels)


def manifest_annotations(origin: Origin, output: Output) -> dict[str, str]:
    """The manifest's annotations: the same, and those that were asked for."""
    return _told(origin, output, output.annotations)


def _told(origin: Origin, output: Output, asked: Mapping[str, str]) -> dict[str, str]:
    if not output.standard_labels:
        return dict(asked)
    revision = {} if origin.revision is None else {REVISION: origin.revision}
    return {**_standard(origin), **asked, **revision}


def epoch(origin: Origin, output: Output) -> int | None:
    """Seconds since 1970 that the image's times are set to; None leaves them as they are.

    Raises BuildFailure(invalid_spec).
    """
    if output.timestamp is None:
        return None
    if output.timestamp == "zero":
        return 0
    if output.timestamp == "source":
        if origin.created is None:
            raise BuildFailure(
                Reason.INVALID_SPEC,
                "timestamp: a Dockerfile alone has no time of its own; use zero or seconds",
            )
        return int(datetime.fromisoformat(origin.created).timestamp())
    return int(output.timestamp)
