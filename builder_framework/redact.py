"""Masks credentials in text: known values in the forms they travel in, and userinfo in URLs.

Pure; used on every log line, error and response, by framework and executor alike.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"
"""What stands where a secret stood."""

MIN_SECRET_LENGTH = 3
"""Shorter values are not masked: they would garble every log and hide nothing."""

# RFC 3986 §3.2.1 userinfo, as it shows up in the middle of messages of git and curl. Of the scheme
# only the last character: looking for its begin takes quadratic time in a long line without spaces.
_URL_USERINFO = re.compile(r"(?<=[A-Za-z0-9+.-]://)[^\s/@\"'<>]+@")


class Secret:
    """A value that never shows itself: `repr`, `str` and formatting give the mask."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself; call it only where the secret is used."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)


def mask_url_userinfo(text: str) -> str:
    """Replace `user:password@` in every URL of `text`: `https://u:p@h/x` -> `https://***@h/x`."""
    return _URL_USERINFO.sub(f"{MASK}@", text)


def spellings(value: str) -> Iterable[str]:
    """The spellings in which a secret turns up: plain, URL-quoted, base64 (three alignments)."""
    yield value
    yield quote(value, safe="")
    yield quote_plus(value)
    raw = value.encode()
    yield base64.b64encode(raw).decode().rstrip("=")
    yield base64.urlsafe_b64encode(raw).decode().rstrip("=")
    # Inside `base64(user:password)` the password starts at any of three bit offsets; only the
    # characters that depend on nothing but the password are searched for.
    for pad in (1, 2):
        encoded = base64.b64encode(b"\0" * pad + raw).decode().rstrip("=")
        start = 2 if pad == 1 else 3
        end = len(encoded) - (1 if (pad + len(raw)) % 3 else 0)
        yield encoded[start:end]
    if len(raw) % 3:
        yield base64.b64encode(raw).decode().rstrip("=")[:-1]
    yield raw.hex()


class Redactor:
    """Masks a fixed set of secret values wherever they stand in a text."""

    def __init__(self, secrets: Iterable[Secret | None] = ()) -> None:
        needles: set[str] = set()
        for secret in secrets:
            if secret is None:
                continue
            lines = [secret.reveal(), *secret.reveal().splitlines()]
            for value in lines:
                if len(value) >= MIN_SECRET_LENGTH:
                    needles.update(
                        form
                        for form in spellings(value)
                        if form == value or len(form) >= max(MIN_SECRET_LENGTH, 4)
                    )
        # The longest first, so that a secret inside another one leaves no rest behind.
        ordered = sorted(needles, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        """`text` with every known secret and every URL's userinfo masked."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return mask_url_userinfo(text)

    def finds(self, text: str) -> bool:
        """Whether one of the secrets stands in `text`."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def git_url(self, url: str) -> str:
        """A validated URL masked, but for the user of `ssh://git@host`, which is no secret there.

        `text` masks every userinfo, which would make the URL another one.
        """
        scheme, separator, rest = url.partition("://")
        user, at, location = rest.partition("@")
        if scheme != "ssh" or not at or "/" in user:
            return self.text(url)
        return f"{scheme}{separator}{self.text(user)}@{self.text(location)}"
