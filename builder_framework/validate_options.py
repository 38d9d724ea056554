"""Grammars of a build's options: secrets, hosts, platforms, registries. Pure, stdlib only.

As in `validate`: each returns the normalised value, or raises InvalidValueError with a sentence
that never repeats the value.
"""

from __future__ import annotations

import ipaddress
import re

from builder_framework import validate
from builder_framework.errors import InvalidValueError

MAX_SECRET_BYTES = 64 * 1024
"""Of one secret. BuildKit takes 500 KiB (solver/llbsolver/ops/exec.go), but all of them travel in
one Mesos task."""

MAX_SHM_MIB = 1024 * 1024

MAX_GROUP = 200
MAX_VARIABLE = 128

# An id stands between commas in BuildKit's options, and is a file name in /run/secrets.
_MOUNT_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_HOST_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*", re.ASCII)
# github.com/containerd/platforms: os/arch or os/arch/variant, in lower case.
_PLATFORM = re.compile(r"[a-z0-9_]+/[a-z0-9_]+(?:/[a-z0-9_.]+)?", re.ASCII)
_DOMAIN = re.compile(r"[a-z0-9]{1,64}")
_SECONDS = re.compile(r"0|[1-9][0-9]{0,11}")


def mount_id(text: str) -> str:
    """The id of a secret or ssh mount."""
    if not _MOUNT_ID.fullmatch(text):
        raise InvalidValueError(
            "an id is 1 to 128 letters, digits and . _ -, beginning with a letter, digit or '_'"
        )
    return text


def secret_value(text: str) -> str:
    """A secret's value: any UTF-8 text of bounded size."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidValueError("the value is not valid Unicode") from None
    if not size:
        raise InvalidValueError("the value is empty")
    if size > MAX_SECRET_BYTES:
        raise InvalidValueError(f"the value is over {MAX_SECRET_BYTES} bytes")
    return text


def host_name(text: str) -> str:
    """A name for `add_hosts`."""
    if len(text) > 253 or not _HOST.fullmatch(text):
        raise InvalidValueError("it is no host name of letters, digits, '-', '_' and '.'")
    return text.lower()


def ip_address(text: str) -> str:
    """An IPv4 or IPv6 address."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise InvalidValueError("it is no IPv4 or IPv6 address") from None


def platform(text: str) -> str:
    """`os/arch` or `os/arch/variant`."""
    if len(text) > 64 or not _PLATFORM.fullmatch(text.lower()):
        raise InvalidValueError("it is no platform: write one like linux/amd64 or linux/arm/v7")
    return text.lower()


def registry(text: str) -> str:
    """A registry's `host[:port]`, Docker Hub's names made one."""
    try:
        found = validate.image_reference(f"{text}/x/y:1")
    except InvalidValueError:
        found = None
    if found is None or found.repository != "x/y":
        raise InvalidValueError(
            "it is no registry: write its host name with an optional port, such as "
            "registry.example.org:5000, or docker.io"
        )
    return found.registry


def cache_domain(text: str) -> str:
    """The directory name of a trust domain's caches."""
    if not _DOMAIN.fullmatch(text):
        raise InvalidValueError("it is not 1 to 64 lower case letters and digits")
    return text


def variable(name: str) -> str:
    """The name of an environment variable (POSIX: no `=`), as containers may have it."""
    if not 1 <= len(name) <= MAX_VARIABLE or "=" in name or not name.isprintable():
        raise InvalidValueError(f"a variable's name is 1 to {MAX_VARIABLE} characters without '='")
    return name


def group(text: str) -> str:
    """The name of a group of builds of which only the newest counts."""
    if not 1 <= len(text) <= MAX_GROUP or not text.isprintable():
        raise InvalidValueError(f"it is not 1 to {MAX_GROUP} printable characters")
    return text


def timestamp(text: str) -> str:
    """`source`, `zero`, or whole seconds since 1970."""
    if text not in ("source", "zero") and not _SECONDS.fullmatch(text):
        raise InvalidValueError("it is one of source, zero, or whole seconds since 1970")
    return text


def shm_size(mebibytes: int) -> int:
    """MiB of /dev/shm."""
    if not 1 <= mebibytes <= MAX_SHM_MIB:
        raise InvalidValueError(f"it is not 1 to {MAX_SHM_MIB} MiB")
    return mebibytes
