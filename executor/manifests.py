"""One repository's manifests and tags at its registry, over the OCI distribution API.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

import requests
from urllib3.exceptions import NameResolutionError

from builder_framework.protocol import Reason
from builder_framework.recipe import RegistryAuth
from builder_framework.validate import DOCKER_HUB, ImageReference
from executor.cancel import CancelToken
from executor.failure import BuildFailure
from executor.registry_auth import Authorization
from executor.registry_host import is_insecure
from executor.registry_http import CALL_TIMEOUT, Answer, Client, Request, WhileLeased

logger = logging.getLogger(__name__)

UNKNOWN_HOST_PATIENCE = 60.0
"""Seconds: a name server may fail for a while, but a misspelt registry never comes."""

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)

DOCKER_HUB_HOST = "registry-1.docker.io"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NOT_NOW = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


@dataclass(frozen=True)
class Manifest:
    """A manifest as the registry has it; `digest` is that of `content`."""

    digest: str
    media_type: str
    content: bytes

    def describes(self, image_id: str) -> bool:
        """Whether this is the engine's image of that id: the manifest's digest, or its config's."""
        return image_id in (self.digest, self._config())

    def _config(self) -> str | None:
        with contextlib.suppress(ValueError, TypeError, LookupError):
            found = json.loads(self.content)["config"]["digest"]
            return found if isinstance(found, str) else None
        return None


class Repository:
    """Reads and puts manifests. One thread at a time.

    Every call raises BuildFailure(push_denied, push_failed) and Stopped.
    """

    def __init__(
        self,
        image: ImageReference,
        auth: RegistryAuth | None,
        insecure_registries: Sequence[str],
        token: CancelToken,
        *,
        timeout: float = CALL_TIMEOUT,
    ) -> None:
        self.name = image.name
        host = DOCKER_HUB_HOST if image.registry == DOCKER_HUB else image.registry
        insecure = is_insecure(host, insecure_registries)
        self._host = host
        self._path = image.repository
        self._authorization = Authorization(self._path, auth, secure=not insecure)
        self._client = Client(host, token, insecure=insecure)
        self._timeout = timeout
        self._base: str | None = None if insecure else f"https://{host}"

    def manifest(self, reference: str) -> Manifest | None:
        """The manifest behind a tag or digest; None if the registry says that there is none."""
        answer = self._ask("GET", f"manifests/{reference}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        self._check(answer)
        digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        if _DIGEST.fullmatch(reference) and digest != reference:
            raise self._failure(f"asked for the manifest {reference}, the registry sent {digest}")
        return Manifest(digest, _media_type(answer), answer.body)

    def digest_of(self, tag: str, *, actions: str = "pull,push") -> str | None:
        """The digest that a tag points to; None if there is no such tag.

        `actions`: what a token has to allow, in case one is asked for.
        """
        answer = self._ask("HEAD", f"manifests/{tag}", actions=actions)
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        self._check(answer)
        digest = answer.headers.get("Docker-Content-Digest") or ""
        if _DIGEST.fullmatch(digest):
            return digest
        found = self.manifest(tag)
        return found.digest if found is not None else None

    def put(self, tag: str, manifest: Manifest, left: Callable[[], float]) -> None:
        """Let `tag` point to this manifest, whose blobs the repository has already.

        `left`: seconds until it must not happen any more. Raises LeaseOver if it did not leave in
        time.
        """
        answer = self._ask(
            "PUT",
            f"manifests/{tag}",
            headers={"Content-Type": manifest.media_type},
            body=WhileLeased(manifest.content, left),
            seconds=min(self._timeout, left()),
        )
        self._check(answer)
        if answer.status != HTTPStatus.CREATED:
            # A redirect, for one: a registry does not send writers elsewhere.
            raise self._failure(f"putting a tag gave HTTP {answer.status}", transient=False)

    def delete_tag(self, tag: str) -> bool:
        """Whether the registry took the tag away. Many cannot, and then nothing happens."""
        try:
            answer = self._ask("DELETE", f"manifests/{tag}", actions="pull,push,delete")
        except BuildFailure as failure:
            logger.info("the tag %s of %s stays: %s", tag, self.name, failure)
            return False
        return answer.status == HTTPStatus.ACCEPTED

    def check_push(self) -> None:
        """Raises BuildFailure(push_denied) unless these credentials may push here.

        Begins an upload, as a push would; the registry forgets those that do not go on.
        """
        self._check(self._ask("POST", "blobs/uploads/"))

    # --- requests -------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        what: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: WhileLeased | None = None,
        seconds: float | None = None,
        actions: str = "pull,push",
    ) -> Answer:
        """One request, repeated once if the registry wants to know who asks."""
        request = Request(
            method,
            f"{self._find_base()}/v2/{self._path}/{what}",
            headers={"Accept": ", ".join(MANIFEST_TYPES), **(headers or {})},
            authorization=self._authorization.header,
            body=body,
            seconds=self._timeout if seconds is None else seconds,
        )
        answer = self._call(request)
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return answer
        self._authenticate(answer.headers.get("WWW-Authenticate") or "", actions)
        return self._call(replace(request, authorization=self._authorization.header))

    def _authenticate(self, challenge: str, actions: str) -> None:
        question = self._authorization.challenged(challenge, actions)
        if question is None:
            return
        answer = self._call(
            Request(
                "GET",
                question.realm,
                parameters=question.parameters,
                authorization=self._authorization.basic(),
                seconds=self._timeout,
            )
        )
        self._check(answer)
        self._authorization.take(answer.body)

    def _find_base(self) -> str:
        """Insecure registries speak TLS with any certificate, or none: what Docker tries, too."""
        if self._base is not None:
            return self._base
        try:
            base = f"https://{self._host}"
            self._client.send(Request("GET", f"{base}/v2/", seconds=self._timeout))
        except requests.ConnectionError as error:  # an SSLError is one
            logger.debug("%s speaks no TLS: %s", self._host, error)
            base = f"http://{self._host}"
            answer = self._call(Request("GET", f"{base}/v2/", seconds=self._timeout))
            if answer.status == HTTPStatus.BAD_REQUEST:  # what a server with TLS answers
                raise self._failure(f"the registry speaks no HTTP: {answer.told}") from error
        except requests.RequestException as error:
            raise self._unreachable(error) from error
        self._base = base
        return base

    def _call(self, request: Request) -> Answer:
        try:
            return self._client.send(request)
        except requests.RequestException as error:
            raise self._unreachable(error) from error

    # --- what went wrong ------------------------------------------------------------------

    def _check(self, answer: Answer) -> None:
        if answer.status < HTTPStatus.BAD_REQUEST:
            return
        told = f"HTTP {answer.status} {answer.told}".strip()
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise BuildFailure(
                Reason.PUSH_DENIED,
                f"{self.name}: the registry refused the credentials, or wants some: {told}",
            )
        transient = answer.status in _NOT_NOW or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        raise self._failure(
            f"the registry answered {told}", transient=transient, retry_after=answer.retry_after
        )

    def _unreachable(self, error: requests.RequestException) -> BuildFailure:
        cause = getattr(error.args[0] if error.args else None, "reason", None)
        return self._failure(
            f"the registry {self._host} did not answer: {error}",
            transient="CERTIFICATE_VERIFY_FAILED" not in str(error),
            patience=UNKNOWN_HOST_PATIENCE
            if isinstance(cause, NameResolutionError)
            else float("inf"),
        )

    def _failure(
        self,
        why: str,
        *,
        transient: bool = True,
        patience: float = float("inf"),
        retry_after: float = 0.0,
    ) -> BuildFailure:
        return BuildFailure(
            Reason.PUSH_FAILED,
            f"{self.name}: {why}",
            transient=transient,
            patience=patience,
            retry_after=retry_after,
        )


def _media_type(answer: Answer) -> str:
    told = (answer.headers.get("Content-Type") or "").partition(";")[0].strip()
    if told in MANIFEST_TYPES:
        return told
    with contextlib.suppress(ValueError, TypeError, LookupError):
        return str(json.loads(answer.body)["mediaType"])
    return MANIFEST_TYPES[0]
