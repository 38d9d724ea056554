"""The image that a build is based upon, by name and by digest, so that its labels can say so."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from builder_framework import validate
from builder_framework.errors import InvalidValueError
from builder_framework.protocol import EngineSpec
from builder_framework.recipe import RegistryAuth
from builder_framework.validate import ImageReference
from executor.cancel import CancelToken
from executor.dockerfile import Base
from executor.failure import BuildFailure
from executor.manifests import Repository

logger = logging.getLogger(__name__)

TIMEOUT = 3.0
"""Seconds for each answer of its registry: only a label depends on it."""


@dataclass(frozen=True)
class BaseImage:
    """`name`: in full (`docker.io/library/busybox:1.36`). `digest`: what that meant just before the
    build, which uses exactly that then. `written`: as the Dockerfile has it.
    """

    name: str
    digest: str | None
    written: str

    @property
    def pin(self) -> tuple[str, str] | None:
        """A named context for BuildKit: the name in the FROM, and what it means."""
        if self.digest is None or "@" in self.written:
            return None
        return self.written, f"docker-image://{self.name}@{self.digest}"


def look_up(
    base: Base,
    logins: Mapping[str, RegistryAuth],
    engine: EngineSpec,
    token: CancelToken,
) -> BaseImage | None:
    """None if it is no image of a registry. Never fails a build. Raises Stopped.

    A frontend of the Dockerfile's own may not know named contexts, so nothing can be pinned then,
    and what it takes would be a guess. Whoever has mirrors may have no way to Docker Hub itself.
    """
    try:
        image = validate.image_reference(base.image, allow_digest=True)
    except InvalidValueError:
        return None
    if image.digest is not None:
        return BaseImage(str(image), image.digest, base.image)
    digest = None
    mirrored = bool(engine.registry_mirrors) and image.registry == validate.DOCKER_HUB
    if not mirrored and not base.frontend:
        auth = logins.get(image.registry)
        digest = _digest(image, auth, engine.insecure_registries, token)
    return BaseImage(str(image), digest, base.image)


def _digest(
    image: ImageReference, auth: RegistryAuth | None, insecure: Sequence[str], token: CancelToken
) -> str | None:
    repository = Repository(image, auth, insecure, token, timeout=TIMEOUT)
    try:
        with contextlib.suppress(BuildFailure):
            return repository.digest_of(image.tag or "latest", actions="pull")
    except OSError as error:
        logger.info("no digest of %s: %s", image, error)
    return None
