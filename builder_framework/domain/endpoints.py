"""Where webhooks may go: the grammar of their URLs, and the operator's list of hosts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from builder_framework.errors import InvalidValueError
from builder_framework.redact import MASK

MAX_URL_LENGTH = 2048
"""Characters, as for git URLs."""

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"
# RFC 3986 pchar, "/" and "?": everything else has to be percent-encoded. Userinfo and fragment
# have no place in it.
_URL = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?P<target>[/?](?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?",
    re.ASCII | re.IGNORECASE,
)
_RULE = re.compile(
    rf"(?:(?P<scheme>https?)://)?(?P<any>\*\.)?(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?",
    re.ASCII | re.IGNORECASE,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Endpoint:
    """A webhook's URL in its parts. `target`: path and query, as the request line has them."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """`host`, with the port where it is not the scheme's own."""
        own = self.port == _DEFAULT_PORTS[self.scheme]
        return self.host if own else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The canonical URL."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def shown(self) -> str:
        """The URL for people: paths and queries of webhooks as a rule hold a token."""
        rest = "/" if self.target == "/" else f"/{MASK}"
        return f"{self.scheme}://{self.authority}{rest}"


def parse(url: str) -> Endpoint:
    """A webhook's URL. Raises InvalidValueError with a sentence that does not repeat it."""
    if len(url) > MAX_URL_LENGTH:
        raise InvalidValueError(f"the webhook's URL is longer than {MAX_URL_LENGTH} characters")
    match = _URL.fullmatch(url)
    if match is None or len(match["host"]) > 253:
        raise InvalidValueError(
            "is not a webhook's URL like https://host/path: http or https, a host name or IPv4 "
            "address, no user, no fragment, other characters percent-encoded"
        )
    scheme = match["scheme"].lower()
    target = match["target"] or "/"
    if target == f"/{MASK}":
        raise InvalidValueError(f"ends in {MASK}, as it is shown; give the whole URL")
    return Endpoint(
        scheme,
        match["host"].lower(),
        _port(match["port"], scheme),
        target if target.startswith("/") else f"/{target}",
    )


@dataclass(frozen=True)
class HostRule:
    """One entry of the operator's list. `subdomains`: the names below `host`, not `host` itself."""

    scheme: str
    host: str
    port: int
    subdomains: bool

    def allows(self, endpoint: Endpoint) -> bool:
        """Whether users may send webhooks there."""
        if (endpoint.scheme, endpoint.port) != (self.scheme, self.port):
            return False
        if self.subdomains:
            return endpoint.host.endswith(f".{self.host}")
        return endpoint.host == self.host


def parse_rule(text: str) -> HostRule:
    """`host`, `host:port`, `*.domain`; https unless it begins with `http://`."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise InvalidValueError(
            f"{text!r} is not a host like hooks.example.org, *.example.org, "
            "hooks.example.org:8443 or http://hooks.example.org"
        )
    scheme = (match["scheme"] or "https").lower()
    return HostRule(
        scheme, match["host"].lower(), _port(match["port"], scheme), match["any"] is not None
    )


def allowed(url: str, hosts: Iterable[str]) -> Endpoint:
    """The URL that a user gave, when `hosts` (see `parse_rule`) have its host; else raises."""
    endpoint = parse(url)
    if not any(parse_rule(host).allows(endpoint) for host in hosts):
        raise InvalidValueError(
            "webhooks to this host, port and scheme are not allowed here; ask the operator to "
            "list it in the setting webhook_hosts"
        )
    return endpoint


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return _DEFAULT_PORTS[scheme]
    if not 0 < int(text) < 65536:
        raise InvalidValueError("the port is not a number from 1 to 65535")
    return int(text)
