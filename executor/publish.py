"""From an image in the engine to tags in the registry, under a lease (docs/adr/0009)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from builder_framework.protocol import PushedImage, Reason
from builder_framework.recipe import Logins
from builder_framework.validate import ImageReference
from executor.cancel import CancelToken, Stopped
from executor.failure import BuildFailure
from executor.lease import Lease, LeaseDesk
from executor.manifests import Manifest, Repository
from executor.registry import Registry
from executor.registry_http import LeaseOver
from executor.retry import Retries
from executor.turns import TURNS, Turns

PUSH_PATIENCE = 1800.0
"""Seconds for which what the registry fails is repeated, from the first failure in a row."""

LEASE_NEEDED = 10.0
"""Seconds that a lease must have left for a tag to be begun; a put takes a fraction of one."""

TAKEN_OVER = 5
"""Times that another build on the same engine may push its image under our staging tag."""


@dataclass
class Publisher:
    """One build's way into its repositories.

    `staging`: one reference for each of them; `open_repository` makes the client of one.
    `published`: the images that have their tag by now.
    """

    images: Sequence[ImageReference]
    staging: Sequence[ImageReference]
    logins: Logins
    open_repository: Callable[[ImageReference], Repository]
    desk: LeaseDesk
    token: CancelToken
    say: Callable[[str], None]
    retries: Retries
    published: list[PushedImage] = field(default_factory=list)
    turns: Turns = TURNS
    _repositories: dict[str, Repository] = field(default_factory=dict)

    def look_up(self, digest: str) -> dict[str, Manifest] | None:
        """The manifest in each repository, by the repository's name; None if one has it not.

        Raises BuildFailure, Stopped.
        """
        found = {}
        for image in self.staging:
            manifest = self.retries.run(partial(self._repository(image).manifest, digest))
            if manifest is None:
                return None
            found[image.name] = manifest
        return found

    def stage(
        self, registry: Registry, local: ImageReference, identity: str
    ) -> dict[str, Manifest]:
        """Push the engine's image `local` into each repository, under the staging tag.

        `identity`: its id in the engine. Raises BuildFailure, Stopped.
        """
        staged = {
            image.name: self._stage(registry, local, image, identity) for image in self.staging
        }
        if len({manifest.digest for manifest in staged.values()}) > 1:
            found = ", ".join(f"{name}@{manifest.digest}" for name, manifest in staged.items())
            raise BuildFailure(Reason.PUSH_FAILED, f"one image got several digests: {found}")
        return staged

    def publish(self, manifests: Mapping[str, Manifest], replaces: str | None) -> None:
        """Put the final tags, and take the staging tags away.

        `replaces`: see LeaseRequest. Raises BuildFailure, LeaseRefused, Stopped. Once the first
        tag is being put, a stop lets the others follow within the grace period.
        """
        digest = manifests[self.images[0].name].digest
        replaces = None if replaces == digest else replaces
        self._lease(digest, replaces)
        with contextlib.ExitStack() as finish:

            def ensure(image: ImageReference) -> None:
                put = partial(self._put, image, manifests[image.name], replaces, finish)
                self.retries.run(put)

            for image in self.images:
                ensure(image)
                self.published.append(PushedImage(str(image), digest))
            for staging in self.staging:
                if self._repository(staging).delete_tag(str(staging.tag)):
                    # Some registry may take the tag's manifest away, and every tag with it.
                    for image in self.images:
                        ensure(image)

    def publish_by(self, push: Callable[[], None], identity: str) -> None:
        """Let somebody else push, under our lease; then every image has to be there.

        `identity`: the image's id in the engine. Raises as `publish` does.
        """
        self._lease(identity, None)
        push()
        for image in self.images:
            repository = self._repository(image)
            digest = self.retries.run(partial(repository.digest_of, str(image.tag)))
            if digest is None:
                raise BuildFailure(Reason.PUSH_FAILED, f"{image} is not there after hooks/push")
            self.published.append(PushedImage(str(image), digest))

    def _stage(
        self, registry: Registry, local: ImageReference, staging: ImageReference, identity: str
    ) -> Manifest:
        repository = self._repository(staging)
        tries = denials = 0

        def push() -> str:
            nonlocal tries, denials
            tries += 1
            if tries > 1:  # the last one's answer may have been lost on the way
                found = repository.manifest(str(staging.tag))
                if found is not None and found.describes(identity):
                    return found.digest
            try:
                return self._push(registry, local, staging)
            except BuildFailure as failure:
                denials += failure.reason is Reason.PUSH_DENIED
                if failure.reason is not Reason.PUSH_DENIED or denials > 1:
                    raise
                # Docker forgets the credentials where the registry's first answer was an error.
                repository.check_push()
                raise BuildFailure(Reason.PUSH_FAILED, failure.message, transient=True) from failure

        for _ in range(TAKEN_OVER):
            digest = self.retries.run(push)
            manifest = self.retries.run(partial(_read, repository, digest))
            if manifest.describes(identity):
                return manifest
            self.say(f"Another build on this engine pushed its own image as {staging}: once more")
        raise BuildFailure(
            Reason.PUSH_FAILED,
            f"other builds on the same engine always pushed theirs as {staging}",
            transient=True,
        )

    def _push(self, registry: Registry, local: ImageReference, staging: ImageReference) -> str:
        """From the tag to its end nobody else's: builds of a repository share it."""
        auth = self.logins.to_push(staging.registry)
        with self.turns.take(str(staging), self.token):
            registry.tag(local, staging)
            try:
                return registry.push(staging, auth, self.token, self.say)
            finally:
                # An engine that was hung up on may take long to answer; the next push has the tag.
                if self.token.why is None:
                    registry.forget(staging)

    def _put(
        self,
        image: ImageReference,
        manifest: Manifest,
        replaces: str | None,
        finish: contextlib.ExitStack,
    ) -> None:
        """Let the tag point to the manifest, unless it does already."""
        repository, tag = self._repository(image), str(image.tag)
        if repository.digest_of(tag) == manifest.digest:
            return
        lease = self._lease(manifest.digest, replaces)
        self.token.check()
        finish.enter_context(self.token.finishing())
        try:
            repository.put(tag, manifest, lambda: min(lease.left, self.token.left))
        except LeaseOver as error:
            raise BuildFailure(
                Reason.PUSH_FAILED, f"{image}: the lease ended before the put", transient=True
            ) from error
        found = repository.digest_of(tag)
        if found != manifest.digest:
            raise BuildFailure(
                Reason.PUSH_FAILED,
                f"{image}: the registry shows {found} after {manifest.digest} was put",
                transient=True,
            )
        self.say(f"Tagged {image}")

    def _lease(self, digest: str, replaces: str | None) -> Lease:
        if self.token.why is None:
            return self.desk.acquire(digest, replaces, LEASE_NEEDED, self.token, self.say)
        # A build that must end gets no other lease, but may use the rest of this one.
        if self.desk.lease.left <= 0:
            raise Stopped
        return self.desk.lease

    def _repository(self, image: ImageReference) -> Repository:
        if image.name not in self._repositories:
            self._repositories[image.name] = self.open_repository(image)
        return self._repositories[image.name]


def _read(repository: Repository, digest: str) -> Manifest:
    manifest = repository.manifest(digest)
    if manifest is None:
        raise BuildFailure(
            Reason.PUSH_FAILED,
            f"{repository.name}: the registry does not show {digest}, which it was given",
            transient=True,
        )
    return manifest
