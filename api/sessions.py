"""Sessions of people with a browser: a signed cookie, and a token for forms. Nothing is stored.

The cookie is `name:expires:nonce:mac`. The MAC also covers a stamp of the user's password, so that
a new password ends every session of the old one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable

from flask import Response

LIFETIME = 12 * 3600
"""Seconds: a working day."""

_COOKIE = re.compile(
    r"(?P<name>[A-Za-z0-9._@-]{1,64}):(?P<expires>[0-9]{1,12}):(?P<nonce>[0-9a-f]{32})"
    r":(?P<mac>[0-9a-f]{64})",
    re.ASCII,
)


class Sessions:
    """Makes and checks the cookies of one framework."""

    def __init__(
        self,
        key: bytes,
        stamp: Callable[[str], bytes | None],
        *,
        secure: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`key`: 32 secret bytes, the same in every process that shall know the sessions.

        `stamp`: see `Authenticator`. `secure`: browsers reach us by TLS only. `clock`: seconds
        since the epoch.
        """
        self._key = key
        self._stamp = stamp
        self._secure = secure
        self._clock = clock

    @property
    def cookie_name(self) -> str:
        """With TLS one that no other host or path can set (RFC 6265bis, cookie name prefixes)."""
        return "__Host-builder" if self._secure else "builder"

    def begin(self, name: str) -> str:
        """The cookie of a new session of a user who has just proved who he is."""
        expires = int(self._clock()) + LIFETIME
        start = f"{name}:{expires}:{secrets.token_hex(16)}"
        return f"{start}:{self._mac(start, self._stamp(name) or b'')}"

    def user(self, cookie: str) -> str | None:
        """Whose session it is; None when it is none of ours, or over."""
        parts = _COOKIE.fullmatch(cookie)
        if parts is None or int(parts["expires"]) <= self._clock():
            return None
        stamp = self._stamp(parts["name"])
        if stamp is None:
            return None
        expected = self._mac(cookie.rpartition(":")[0], stamp)
        return parts["name"] if hmac.compare_digest(expected, parts["mac"]) else None

    def form_token(self, cookie: str) -> str:
        """What forms of this session carry, and no other site can know."""
        return self._digest(b"form", cookie.encode())

    def fits(self, cookie: str, token: str) -> bool:
        """Whether `token` is this session's."""
        return hmac.compare_digest(self.form_token(cookie).encode(), token.encode())

    def give(self, response: Response, cookie: str) -> None:
        """Hand the cookie to the browser; scripts cannot read it."""
        response.set_cookie(
            self.cookie_name,
            cookie,
            max_age=LIFETIME,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="Lax",
        )

    def take(self, response: Response) -> None:
        """Let the browser forget it."""
        response.delete_cookie(
            self.cookie_name, path="/", secure=self._secure, httponly=True, samesite="Lax"
        )

    def _mac(self, start: str, stamp: bytes) -> str:
        return self._digest(b"session", start.encode(), stamp)

    def _digest(self, *parts: bytes) -> str:
        mac = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            mac.update(len(part).to_bytes(8, "big") + part)
        return mac.hexdigest()
