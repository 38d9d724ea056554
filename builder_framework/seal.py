"""Secrets as they stand in the database: encrypted, with a key that the database does not hold.

A sealed value is text, `sealed:1:KEY:DATA`. KEY is the id of the key, 8 hex digits that follow from
it. DATA is base64url without padding: a random nonce of 96 bits, then what AES-256-GCM (NIST SP
800-38D) made of the text, its tag of 128 bits at the end. A context such as `builds/ID/request` is
authenticated with it, so that a value which was moved to another row does not open there.

One key may seal 2^32 values (SP 800-38D, 8.3: random nonces); a build has a few.
"""

from __future__ import annotations

import base64
import binascii
import copy
import hashlib
import hmac
import os
import re
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from builder_framework.errors import InvalidValueError, SealError

KEY_BYTES = 32

_MARK = "sealed:1:"
_SEALED = re.compile(r"sealed:1:(?P<key>[0-9a-f]{8}):(?P<data>[A-Za-z0-9_-]+)", re.ASCII)
_NONCE_BYTES = 12
_HEX = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)


def new_key() -> str:
    """A fresh random key, as the setting `secret_key` takes it: base64 of 32 bytes."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def key_of(sealed: str) -> str | None:
    """Id of the key that a value was sealed with, None when the text is no sealed value."""
    match = _SEALED.fullmatch(sealed)
    return match["key"] if match else None


def not_sealed(context: str) -> SealError:
    """What there is to say of a value without a key."""
    return SealError(f"{context} holds a value that is not sealed: restore a backup")


class _Key:
    """One key: its id, and the cipher and the digests under subkeys of their own."""

    def __init__(self, key: bytes) -> None:
        # HKDF (RFC 5869) keeps what is shown, the id, apart from what encrypts.
        self.id = _derived(key, b"builder-framework key id", 4).hex()
        self.cipher = AESGCM(_derived(key, b"builder-framework sealed:1", KEY_BYTES))
        self.digest_key = _derived(key, b"builder-framework digest:1", KEY_BYTES)


class Sealer:
    """Seals with the first of its keys, if not told otherwise, and opens with each of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """`keys`: at least one, of 32 random bytes each, no two alike.

        Raises InvalidValueError.
        """
        made = [_Key(key) for key in keys]
        self._keys = {key.id: key for key in made}
        if not made:
            raise InvalidValueError(f"holds no key: give {_GRAMMAR}")
        if len(self._keys) < len(made):
            raise InvalidValueError("holds the same key twice: give each one once")
        self._first = made[0]

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of the keys, of the one that seals first."""
        return (self._first.id, *(key for key in self._keys if key != self._first.id))

    def sealing_with(self, key: str) -> Sealer:
        """The same keys, of which that one, by its id, seals. Raises SealError: it is not here."""
        if key not in self._keys:
            raise SealError(f"the key to seal with is {key}, {self._instead}")
        other = copy.copy(self)
        other._first = self._keys[key]  # noqa: SLF001 (its own class)
        return other

    @property
    def _instead(self) -> str:
        return f"and the keys here are {', '.join(self.key_ids)}: add that key to secret_key"

    def seal(self, text: str, context: str) -> str:
        """`text` as a sealed value that opens in this context only."""
        nonce = os.urandom(_NONCE_BYTES)
        # Any str has to come back, half a surrogate pair included.
        plain = text.encode("utf-8", "surrogatepass")
        data = nonce + self._first.cipher.encrypt(nonce, plain, context.encode())
        return f"{_MARK}{self._first.id}:{base64.urlsafe_b64encode(data).decode().rstrip('=')}"

    def digest(self, text: str) -> str:
        """64 hex digits that tell nothing of `text` to whoever lacks the key that seals."""
        return hmac.new(self._first.digest_key, text.encode(), hashlib.sha256).hexdigest()

    def open(self, sealed: str, context: str) -> str:
        """The text of a sealed value. `context` is a part of every message.

        Raises SealError: it is none, its key is not here, or it was changed or moved.
        """
        match = _SEALED.fullmatch(sealed)
        if match is None:
            raise not_sealed(context)
        key = self._keys.get(match["key"])
        if key is None:
            raise SealError(f"{context} is sealed with key {match['key']}, {self._instead}")
        try:
            data = _decoded(match["data"])
            plain = key.cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError):
            raise SealError(
                f"{context} was changed or moved after it had been sealed with key {key.id}: "
                "restore a backup"
            ) from None
        return plain.decode("utf-8", "surrogatepass")


_GRAMMAR = (
    "32 random bytes as base64 (44 characters, `openssl rand -base64 32`) or as 64 hex digits, "
    "several with commas"
)


def parse(text: str) -> Sealer:
    """The sealer of a setting: keys with commas between them, the newest first.

    Raises InvalidValueError with a sentence that does not repeat them.
    """
    return Sealer([_parsed(part.strip()) for part in text.split(",") if part.strip()])


def _parsed(text: str) -> bytes:
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise InvalidValueError(f"is no key: give {_GRAMMAR}")
    return key


def _derived(key: bytes, purpose: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=purpose).derive(key)


def _decoded(text: str) -> bytes:
    """Base64url without padding. Raises ValueError."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # Python's decoder ignores what is left over in the last character: one value, one spelling.
    if base64.urlsafe_b64encode(data).decode().rstrip("=") != text:
        raise ValueError
    return data
