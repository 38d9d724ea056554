"""Who we are to a registry: Basic, or a Bearer token from the place that its challenge names.

https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.request import parse_http_list, parse_keqv_list

from builder_framework.protocol import Reason
from builder_framework.recipe import RegistryAuth
from executor.failure import BuildFailure

_CHALLENGE = re.compile(r"\b(?P<scheme>basic|bearer)\s+(?P<parameters>.*)", re.IGNORECASE)


@dataclass(frozen=True)
class TokenQuestion:
    """A GET of `realm` with `parameters`, whose answer holds a token."""

    realm: str
    parameters: Mapping[str, str]


class Authorization:
    """The Authorization header for one repository, as far as the registry's challenges told."""

    def __init__(self, repository: str, auth: RegistryAuth | None, *, secure: bool) -> None:
        self._repository = repository
        self._auth = auth
        self._secure = secure
        self.header: str | None = None

    def basic(self) -> str | None:
        """The header with user and password, if there are any."""
        if self._auth is None:
            return None
        login = f"{self._auth.username}:{self._auth.password.reveal()}".encode()
        return f"Basic {base64.b64encode(login).decode()}"

    def challenged(self, header: str, actions: str) -> TokenQuestion | None:
        """Take in a WWW-Authenticate; the question whose answer `token` wants, if it needs one.

        Raises BuildFailure(push_denied) where there is no way to authenticate.
        """
        challenge = _CHALLENGE.search(header)
        if challenge is None:
            raise self._denied(f"it wants an authentication that nobody knows: {header!r}")
        if challenge["scheme"].lower() == "basic":
            self.header = self.basic()
            if self.header is None:
                raise self._denied("it wants a user and a password: set registry_auth")
            return None
        told = _parameters(challenge["parameters"])
        realm = told.get("realm") or ""
        if not realm.startswith("https://" if self._secure else ("https://", "http://")):
            raise self._denied(f"its tokens come from {realm!r}, which is no https URL")
        parameters = {"scope": f"repository:{self._repository}:{actions}"}
        if service := told.get("service"):
            parameters["service"] = service
        return TokenQuestion(realm, parameters)

    def take(self, answer: bytes) -> None:
        """Take in the answer to a TokenQuestion. Raises BuildFailure if there is no token in it."""
        found = None
        with contextlib.suppress(ValueError, AttributeError):
            fields = json.loads(answer)
            found = fields.get("token") or fields.get("access_token")
        if not isinstance(found, str):
            raise BuildFailure(
                Reason.PUSH_FAILED, "the registry's token server gave no token", transient=True
            )
        self.header = f"Bearer {found}"

    def _denied(self, why: str) -> BuildFailure:
        return BuildFailure(Reason.PUSH_DENIED, f"the registry lets nobody in: {why}")


def _parameters(text: str) -> dict[str, str]:
    """`name=value` and `name="value"`, separated by commas (RFC 9110, 11.2)."""
    return parse_keqv_list([item for item in parse_http_list(text) if "=" in item])
