"""Which addresses webhooks may be sent to. Pure: of one address, after its name was looked up.

Whoever may name a webhook could otherwise have the framework speak to what only it can reach: the
cloud's metadata, its own loopback, a registry without a password (CWE-918).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from builder_framework.errors import InvalidValueError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Beyond what `is_global` knows in every version of Python (IANA's special-purpose registries).
_SPECIAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "5f00::/16",
        "fc00::/7",
        "fec0::/10",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class Reach:
    """Public addresses, and those in `networks`, which the operator lists."""

    networks: tuple[Network, ...] = ()

    def allows(self, text: str) -> bool:
        """Whether a connection may be made to an address, as `getaddrinfo` gives it."""
        try:
            found = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        address = _meant(found)
        if any(address in network for network in self.networks):
            return True
        special = any(address in network for network in _SPECIAL)
        return address.is_global and not (special or address.is_multicast or address.is_reserved)


def _meant(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def parse_network(text: str) -> Network:
    """`10.0.0.0/8`, or one address. Raises InvalidValueError."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise InvalidValueError(
            f"{text!r} is no network like 10.0.0.0/8 or fd00::/8 (no bits set after the prefix)"
        ) from None
