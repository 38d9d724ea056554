"""A build as a file for `docker buildx bake`, or, where that cannot say it, as its options. Pure.

A file, because build arguments would otherwise stand in argv, or in the client's own environment,
where LD_PRELOAD or DOCKER_HOST mean something.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder_framework.recipe import Provenance, Recipe, RunNetwork
from builder_framework.validate import ImageReference

TARGET = "image"


@dataclass(frozen=True)
class Build:
    """One image to build. The paths are absolute; `tag` is its name in the engine.

    `secrets`, `ssh`: files by the ids of the recipe's. `annotations`: of the manifest, and of the
    index where there is one. `epoch`: seconds since 1970 that the image's times are set to.
    `proxies`: the predefined build arguments, unless the recipe has them. `archive`: where the
    image goes instead of into the engine, in OCI's layout as a tar. `cache_from`, `cache_to`:
    images that hold a build cache. `contexts`: what names in the Dockerfile stand for.
    """

    context: Path
    dockerfile: Path
    tag: ImageReference
    recipe: Recipe
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)
    ssh: Mapping[str, Path] = field(default_factory=dict)
    epoch: int | None = None
    sbom: bool = False
    sbom_generator: str | None = None
    provenance: Provenance = Provenance.NONE
    proxies: Mapping[str, str] = field(default_factory=dict)
    archive: Path | None = None
    cache_from: Sequence[str] = ()
    cache_to: str | None = None
    contexts: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_index(self) -> bool:
        """Whether the result is an index: of platforms, or of image and attestations."""
        attested = self.sbom or self.provenance is not Provenance.NONE
        return attested or len(self.recipe.platforms) > 1

    @property
    def arguments(self) -> dict[str, str]:
        """Every build argument."""
        found = {**self.proxies, **self.recipe.build_args}
        if self.epoch is not None:
            # https://reproducible-builds.org/specs/source-date-epoch/, which BuildKit obeys.
            found.setdefault("SOURCE_DATE_EPOCH", str(self.epoch))
        return found

    def needs_options(self) -> bool:
        """Whether it needs what bake files cannot say (before Buildx 0.21)."""
        return bool(self.recipe.add_hosts) or self.recipe.network is not RunNetwork.DEFAULT


def literal(text: str) -> str:
    """`text` for a bake file, whose strings are templates: `${…}` and `%{…}` lose their meaning."""
    return text.replace("${", "$${").replace("%{", "%%{")


def bake_file(build: Build) -> str:
    """The build as a bake file (JSON)."""
    recipe = build.recipe
    target: dict[str, Any] = {
        "context": str(build.context),
        "dockerfile": str(build.dockerfile),
        "tags": [str(build.tag)],
        "args": build.arguments,
        "labels": dict(build.labels),
        "annotations": list(_annotations(build)),
        "secret": [f"id={name},src={path}" for name, path in build.secrets.items()],
        "ssh": [f"{name}={path}" for name, path in build.ssh.items()],
        "attest": list(_attestations(build)),
        "platforms": list(recipe.platforms),
        "target": recipe.target,
        "no-cache": recipe.no_cache or None,
        "pull": recipe.pull or None,
        "shm-size": None if recipe.shm_size is None else f"{recipe.shm_size}m",
        "output": [_output(build)],
        "cache-from": list(_imports(build)),
        "cache-to": list(_exports(build)),
        "contexts": dict(build.contexts),
    }
    told = {name: _escaped(value) for name, value in target.items() if value not in (None, [], {})}
    return json.dumps({"target": {TARGET: told}})


def options(build: Build) -> list[str]:
    """The build as options of `docker buildx build`."""
    recipe = build.recipe
    found = [f"--file={build.dockerfile}", f"--tag={build.tag}"]
    # The client has the proxies in its own environment, where it looks when there is no value.
    told = {name for name in build.proxies if name not in recipe.build_args}
    found += [
        f"--build-arg={name}" if name in told else f"--build-arg={name}={value}"
        for name, value in build.arguments.items()
    ]
    found += [f"--label={key}={value}" for key, value in build.labels.items()]
    found += [f"--annotation={text}" for text in _annotations(build)]
    found += [f"--secret=id={name},src={path}" for name, path in build.secrets.items()]
    found += [f"--ssh={name}={path}" for name, path in build.ssh.items()]
    found += [f"--attest={text}" for text in _attestations(build)]
    found += [f"--platform={','.join(recipe.platforms)}"] if recipe.platforms else []
    found += [f"--target={recipe.target}"] if recipe.target is not None else []
    found += ["--no-cache"] if recipe.no_cache else []
    found += ["--pull"] if recipe.pull else []
    found += [f"--shm-size={recipe.shm_size}m"] if recipe.shm_size is not None else []
    found.append(f"--output={_output(build)}")
    found += [f"--cache-from={text}" for text in _imports(build)]
    found += [f"--cache-to={text}" for text in _exports(build)]
    found += [f"--build-context={name}={what}" for name, what in build.contexts.items()]
    found += [f"--add-host={name}:{address}" for name, address in recipe.add_hosts.items()]
    found.append(f"--network={recipe.network.value}")
    found += ["--allow=network.host"] if recipe.network is RunNetwork.HOST else []
    return [*found, "--", str(build.context)]


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, dict):
        return {key: literal(text) for key, text in value.items()}
    if isinstance(value, list):
        return [literal(text) for text in value]
    return value


def _annotations(build: Build) -> Iterator[str]:
    where = "manifest,index" if build.has_index else "manifest"
    for key, value in build.annotations.items():
        yield f"{where}:{key}={value}"


def _attestations(build: Build) -> Iterator[str]:
    if build.sbom:
        generator = build.sbom_generator
        yield "type=sbom" if generator is None else f"type=sbom,generator={generator}"
    if build.provenance is not Provenance.NONE:
        yield f"type=provenance,mode={build.provenance.value}"


def _imports(build: Build) -> Iterator[str]:
    for image in build.cache_from:
        yield f"type=registry,ref={image}"


def _exports(build: Build) -> Iterator[str]:
    """As an image, which every registry takes; a cache that cannot be written fails no build."""
    if build.cache_to is not None:
        how = "mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true"
        yield f"type=registry,ref={build.cache_to},{how}"


def _output(build: Build) -> str:
    """Docker's own media types have no annotations; and what is unpacked has its times already."""
    if build.archive is None:
        return f"type=image,name={build.tag},oci-mediatypes=true"
    rewritten = ",rewrite-timestamp=true" if build.epoch is not None else ""
    return f"type=oci,dest={build.archive},name={build.tag}{rewritten}"
