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
    build, which uses exactly that then. `pin`: BuildKit's named context for that, the name and what
    it means.
    """

    name: str
    digest: str | None = None
    pin: tuple[str, str] | None = None


def context_name(image: ImageReference) -> str:
    """The one name by which BuildKit looks for a context in place of an image.

    It leaves out what `docker.io/library/NAME:latest` says beside NAME. Buildx shortens names of
    its command line, but not those of a bake file, and a context of another name is not used.
    """
    name = image.name.removeprefix(f"{validate.DOCKER_HUB}/").removeprefix("library/")
    if image.registry != validate.DOCKER_HUB:
        name = image.name
    return name if image.tag in (None, "latest") else f"{name}:{image.tag}"


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
        return BaseImage(str(image), image.digest)
    name = context_name(image)
    mirrored = bool(engine.registry_mirrors) and image.registry == validate.DOCKER_HUB
    # A context would also take the place of a stage of its name, and its steps would be gone.
    if mirrored or base.frontend or name in base.stages:
        return BaseImage(str(image))
    auth = logins.get(image.registry)
    digest = _digest(image, auth, engine.insecure_registries, token)
    if digest is None:
        return BaseImage(str(image))
    return BaseImage(str(image), digest, (name, f"docker-image://{image.name}@{digest}"))


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
