"""Which registries are spoken to without TLS that was checked: the same that Docker would."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

_LOOPBACK = ("127.0.0.0/8", "::1/128")


def is_insecure(registry: str, insecure: Iterable[str]) -> bool:
    """Whether `registry` (`host` or `host:port`) is listed: by name, or in a network (CIDR)."""
    entries = [*insecure, *_LOOPBACK]
    if registry in entries:
        return True
    host = urlsplit(f"//{registry}").hostname or ""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        return any(address in network for network in _networks(entries))
    return False


def _networks(
    entries: Iterable[str],
) -> Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    for entry in entries:
        if "/" in entry:
            with contextlib.suppress(ValueError):
                yield ipaddress.ip_network(entry, strict=False)
