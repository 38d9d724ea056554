"""Grammars of sources that are not git: archives' URLs and digests, inline Dockerfiles. Pure.

As in `validate`: each returns the normalised value, or raises InvalidValueError with a sentence
that never repeats the value. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from builder_framework.errors import InvalidValueError

MAX_URL_LENGTH = 4096
"""Characters; signed URLs of object stores have some 1500."""

MAX_DOCKERFILE_BYTES = 64 * 1024
"""Of a Dockerfile in a request: all of it travels in one Mesos task."""

MAX_STRIP = 20

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}))(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>/(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)",
    re.ASCII | re.IGNORECASE,
)
_SHA256 = re.compile(r"(?:sha256:)?(?P<hex>[0-9a-fA-F]{64})")


def archive_url(url: str, protocols: Collection[str]) -> str:
    """A URL of http(s), scheme and host in lower case. `protocols`: those that are allowed for
    git; https is always."""
    if len(url) > MAX_URL_LENGTH:
        raise InvalidValueError(f"the URL is longer than {MAX_URL_LENGTH} characters")
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise InvalidValueError(
            "the URL holds credentials; give them in the fields username and password"
        )
    match = _URL.fullmatch(url)
    if match is None:
        raise InvalidValueError(
            "this is no URL of an archive, like https://host/project.tar.gz; other characters are "
            "to be percent-encoded, and a fragment (#…) means nothing"
        )
    scheme, host, port = match["scheme"].lower(), match["host"].lower(), match["port"]
    if scheme == "http" and "http" not in protocols:
        raise InvalidValueError("http is not allowed here; use https")
    if port is not None and not 0 < int(port) < 65536:
        raise InvalidValueError("the port in the URL is not a number from 1 to 65535")
    return f"{scheme}://{host}{':' + port if port else ''}{match['rest']}"


def sha256(text: str) -> str:
    """A digest as 64 hex digits in lower case; `sha256:` may stand before it."""
    match = _SHA256.fullmatch(text)
    if match is None:
        raise InvalidValueError("is not the 64 hex digits of a SHA-256 (`sha256sum FILE`)")
    return match["hex"].lower()


def dockerfile(text: str) -> str:
    """The text of a Dockerfile."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_DOCKERFILE_BYTES:
        raise InvalidValueError(
            f"the Dockerfile has over {MAX_DOCKERFILE_BYTES} bytes; upload it as a context"
        )
    if not text.strip():
        raise InvalidValueError("the Dockerfile is empty")
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidValueError("the Dockerfile has characters that are no text")
    return text


def strip_components(number: int) -> int:
    """How many leading parts of names are cut off."""
    if not 0 <= number <= MAX_STRIP:
        raise InvalidValueError(f"must be from 0 to {MAX_STRIP}")
    return number
