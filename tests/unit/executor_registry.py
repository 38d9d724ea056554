"""A registry's manifests in memory, for tests of what the executor publishes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from builder_framework.protocol import Reason
from builder_framework.validate import ImageReference
from executor.failure import BuildFailure
from executor.manifests import Manifest

IMAGE_ID = "sha256:" + "c" * 64
"""The id of every image in the engine: its config's digest."""


def manifest_of(image_id: str) -> Manifest:
    content = json.dumps({"config": {"digest": image_id}}).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Manifest(digest, "application/vnd.oci.image.manifest.v1+json", content)


MANIFEST = manifest_of(IMAGE_ID)
DIGEST = MANIFEST.digest


def nothing(_what: str, _tag: str) -> None:
    """No fault."""


@dataclass
class FakeRepository:
    """One repository. `fault` is called before each request and may raise."""

    name: str
    manifests: dict[str, Manifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    puts: list[str] = field(default_factory=list)
    deletes_tags: bool = False
    fault: Callable[[str, str], None] = nothing
    after_put: Callable[[str, str], None] = nothing

    def push(self, tag: str, manifest: Manifest = MANIFEST) -> str:
        """What an engine does."""
        self.manifests[manifest.digest] = manifest
        self.tags[tag] = manifest.digest
        return manifest.digest

    def manifest(self, reference: str) -> Manifest | None:
        self.fault("manifest", reference)
        return self.manifests.get(self.tags.get(reference, reference))

    def digest_of(self, tag: str) -> str | None:
        self.fault("digest_of", tag)
        return self.tags.get(tag)

    def put(self, tag: str, manifest: Manifest, left: Callable[[], float]) -> None:
        self.fault("put", tag)
        assert left() > 0
        assert manifest.digest in self.manifests
        self.tags[tag] = manifest.digest
        self.puts.append(tag)
        self.after_put("put", tag)

    def delete_tag(self, tag: str) -> bool:
        if self.deletes_tags:
            self.tags.pop(tag, None)
        return self.deletes_tags

    def check_push(self) -> None:
        self.fault("check_push", "")


@dataclass
class FakeRegistries:
    """Every repository there is; takes the place of `executor.manifests.Repository`."""

    repositories: dict[str, FakeRepository] = field(default_factory=dict)

    def __call__(self, image: ImageReference, *_: object) -> FakeRepository:
        return self.of(image.name)

    def of(self, name: str) -> FakeRepository:
        return self.repositories.setdefault(name, FakeRepository(name))


class Once:
    """A fault that happens to the first call of one kind."""

    def __init__(self, what: str, fault: Callable[[], BaseException]) -> None:
        self._what: str | None = what
        self._fault = fault

    def __call__(self, what: str, _tag: str) -> None:
        if what == self._what:
            self._what = None
            raise self._fault()


def unavailable() -> BuildFailure:
    return BuildFailure(Reason.PUSH_FAILED, "HTTP 503", transient=True)
