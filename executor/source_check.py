"""A source, checked again and normalised: it came over the network."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import replace

from builder_framework import validate, validate_archive, validate_options
from builder_framework.errors import InvalidValueError
from builder_framework.protocol import Reason
from builder_framework.recipe import (
    GitSource,
    InlineSource,
    Source,
    TarballSource,
    TaskSource,
    UploadSource,
)
from executor import git_check
from executor.failure import BuildFailure

_ANY_HTTP = ("https", "http")


def check(source: Source, protocols: Collection[str]) -> Source:
    """Raises BuildFailure(invalid_spec), naming the field."""
    match source.given:
        case GitSource() as git:
            return Source(git=git_check.check(git, protocols))
        case TarballSource() as tarball:
            return Source(tarball=_tarball(tarball, protocols))
        case UploadSource() as upload:
            return Source(upload=_upload(upload))
        case TaskSource() as task:
            return Source(task=_task(task))
        case InlineSource() as inline:
            with _field("inline.dockerfile"):
                text = validate_archive.dockerfile(inline.dockerfile)
            return Source(inline=InlineSource(text))


def _tarball(source: TarballSource, protocols: Collection[str]) -> TarballSource:
    with _field("tarball.url"):
        found = TarballSource.at(validate_archive.archive_url(source.address, protocols))
    with _field("tarball.sha256"):
        digest = None if source.sha256 is None else validate_archive.sha256(source.sha256)
    with _field("tarball.strip_components"):
        strip = validate_archive.strip_components(source.strip_components)
    return replace(source, url=found.url, query=found.query, sha256=digest, strip_components=strip)


def _task(source: TaskSource) -> TaskSource:
    with _field("task.image"):
        image = str(validate.image_reference(source.image, allow_digest=True))
    with _field("task.env"):
        for name in (*source.env, *source.masked_env):
            validate_options.variable(name)
    with _field("task.dns"):
        for address in source.dns:
            validate_options.ip_address(address)
    return replace(source, image=image)


def _upload(source: UploadSource) -> UploadSource:
    with _field("upload.url"):
        # The operator's own.
        url = validate_archive.archive_url(source.url, _ANY_HTTP)
    with _field("upload.sha256"):
        digest = validate_archive.sha256(source.sha256)
    return replace(source, url=url, sha256=digest)


@contextlib.contextmanager
def _field(name: str) -> Iterator[None]:
    try:
        yield
    except InvalidValueError as error:
        raise BuildFailure(Reason.INVALID_SPEC, f"source.{name}: {error.message}") from error
