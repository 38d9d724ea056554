"""Addresses of masters and of ZooKeeper, as people write them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote

from builder_framework.errors import InvalidValueError

_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_EXAMPLE = "for example 10.0.0.1:5050 or m1.example.org:5050,m2.example.org:5050"


@dataclass(frozen=True)
class Address:
    """`host`: a name, or an IPv4 or IPv6 address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """`host:port`, IPv6 in brackets. Raises InvalidValueError, which never shows `text`."""
        host, colon, port = text.strip().rpartition(":")
        if not colon or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
            raise InvalidValueError(f"write it as host:port, {_EXAMPLE}")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            if not _is_ipv6(host):
                raise InvalidValueError("between [ and ] stands an IPv6 address, as in [::1]:5050")
        elif ":" in host:
            raise InvalidValueError("write an IPv6 address in brackets, as in [::1]:5050")
        elif not _NAME.fullmatch(host):
            raise InvalidValueError(f"is no host name or address: write host:port, {_EXAMPLE}")
        return cls(host, int(port))


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text.partition("%")[0]).version == 6
    except ValueError:
        return False


@dataclass(frozen=True)
class ZooKeeperAddress:
    """`zk://user:password@host:port,host:port/path`: `credentials` is `user:password`."""

    hosts: str
    path: str
    credentials: str | None = None

    def __str__(self) -> str:
        return f"zk://{self.hosts}{self.path}"

    @classmethod
    def parse(cls, text: str) -> ZooKeeperAddress:
        """Raises InvalidValueError, which never shows `text`: it may hold a password."""
        authority, slash, path = text.removeprefix("zk://").partition("/")
        credentials, at, hosts = authority.rpartition("@")
        if at and not all(credentials.partition(":")):
            raise InvalidValueError(
                "before the @ stand a user and a password: zk://user:password@…"
            )
        path = slash + path.rstrip("/")
        if len(path) < 2 or "//" in path:
            raise InvalidValueError("a path follows the hosts, as in zk://zk1:2181,zk2:2181/mesos")
        addresses = [Address.parse(host) for host in hosts.split(",")]
        return cls(",".join(map(str, addresses)), path, unquote(credentials) if at else None)


MasterSource = ZooKeeperAddress | tuple[Address, ...]


def parse(text: str) -> MasterSource:
    """Where to find the leading master. Raises InvalidValueError, which never shows `text`."""
    text = text.strip()
    if text.startswith("zk://"):
        return ZooKeeperAddress.parse(text)
    if "://" in text:
        raise InvalidValueError(
            "write addresses without http:// or https://, and set mesos_tls for a master with TLS"
        )
    return tuple(dict.fromkeys(Address.parse(part) for part in text.split(",")))


def shown(text: str) -> str:
    """The same without ZooKeeper's password, for logs."""
    source = parse(text)
    if isinstance(source, ZooKeeperAddress):
        return str(source)
    return ",".join(map(str, source))
