"""What the spec says, checked again and normalised: it came over the network."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from builder_framework import validate, validate_options
from builder_framework.errors import InvalidValueError
from builder_framework.protocol import BuildSpec, CacheUse, Reason
from builder_framework.recipe import Recipe, Source
from builder_framework.validate import ImageReference
from executor import caches, source_check
from executor.caches import CacheKey
from executor.failure import BuildFailure


@dataclass(frozen=True)
class Plan:
    """A spec whose values are safe to hand to git and Docker.

    `local`: the image's name in the engine, which no other build has. `staging`: its name in each
    repository before it has its final ones. `cache`: where on this agent it may be warm.
    """

    source: Source
    recipe: Recipe
    images: tuple[ImageReference, ...]
    local: ImageReference
    staging: tuple[ImageReference, ...]
    cache: CacheKey


def check(spec: BuildSpec) -> Plan:
    """Raises BuildFailure(invalid_spec), naming the field."""
    with _field("images"):
        images = tuple(dict.fromkeys(map(validate.image_reference, spec.images)))
        if not images and spec.source.task is None:
            _wrong("there is no image to build")
    source = source_check.check(spec.source, spec.git_protocols)
    if source.task is not None:
        # What it runs in has a name, and nothing comes of it.
        images = (validate.image_reference(source.task.image, allow_digest=True),)
    with _field("build_id"):
        local = _tagged(images[0], f"builder-{spec.build_id}-{spec.attempt}")
    with _field("staging_tag"):
        tag = spec.staging_tag.replace("{build}", spec.build_id)
        tag = tag.replace("{attempt}", str(spec.attempt))
        staging = tuple(dict.fromkeys(_tagged(image, tag) for image in images))
        if taken := [str(image) for image in staging if image in images]:
            _wrong(f"{taken[0]} is asked for as a result; builds are staged there")
    with _field("timeout"):
        if not spec.timeout > 0:
            _wrong("the timeout is not a positive number of seconds")
    with _field("cache_domain"):
        domain = validate_options.cache_domain(spec.cache_domain)
    _check_output(spec)
    origin = source.origin([str(image) for image in images])
    cache = caches.COLD
    if spec.cache is not CacheUse.NONE:
        cache = CacheKey(domain, hashlib.sha256(origin.encode()).hexdigest()[:16])
    return Plan(source, _recipe(spec.recipe), images, local, staging, cache)


def _recipe(recipe: Recipe) -> Recipe:
    with _field("context"):
        context = validate.relative_path(recipe.context, allow_root=True)
    with _field("dockerfile"):
        file = validate.relative_path(recipe.dockerfile)
    with _field("target"):
        target = None if recipe.target is None else validate.target_stage(recipe.target)
    _each("build_args", recipe.build_args, validate.build_arg_name, validate.text_value)
    with _field("secrets"):
        for name in recipe.secrets:
            validate_options.mount_id(name)
    with _field("ssh"):
        for name in recipe.ssh:
            validate_options.mount_id(name)
    hosts = validate_options.host_name
    _each("add_hosts", recipe.add_hosts, hosts, validate_options.ip_address)
    with _field("shm_size"):
        if recipe.shm_size is not None:
            validate_options.shm_size(recipe.shm_size)
    with _field("platforms"):
        platforms = tuple(dict.fromkeys(map(validate_options.platform, recipe.platforms)))
    with _field("cache_from"):
        sources = tuple(str(validate.image_reference(image)) for image in recipe.cache_from)
    with _field("cache_to"):
        to = None if recipe.cache_to is None else str(validate.image_reference(recipe.cache_to))
    return replace(
        recipe,
        context=context,
        dockerfile=file,
        target=target,
        platforms=platforms,
        cache_from=sources,
        cache_to=to,
    )


def _check_output(spec: BuildSpec) -> None:
    _each("image_labels", spec.output.labels, validate.label_key, validate.text_value)
    _each("annotations", spec.output.annotations, validate.label_key, validate.text_value)
    with _field("timestamp"):
        if spec.output.timestamp is not None:
            validate_options.timestamp(spec.output.timestamp)


def _each(
    name: str,
    values: Mapping[str, str],
    check_key: Callable[[str], object],
    check_value: Callable[[str], object],
) -> None:
    with _field(name):
        for key, value in values.items():
            check_key(key)
            check_value(value)


def _tagged(image: ImageReference, tag: str) -> ImageReference:
    return validate.image_reference(f"{image.name}:{tag}")


@contextlib.contextmanager
def _field(name: str) -> Iterator[None]:
    try:
        yield
    except InvalidValueError as error:
        raise BuildFailure(Reason.INVALID_SPEC, f"{name}: {error.message}") from error


def _wrong(problem: str) -> None:
    raise InvalidValueError(problem)
