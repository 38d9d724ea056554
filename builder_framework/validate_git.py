"""Grammars of what goes with a git URL: keys, known hosts, logins' hosts. Pure, stdlib only.

As in `validate`: every function returns the normalised value, or raises InvalidValueError with a
sentence that never repeats the value.
"""

from __future__ import annotations

import base64
import binascii
import re

from builder_framework import validate
from builder_framework.errors import InvalidValueError

MAX_KEY_LENGTH = 16 * 1024
"""Characters. An RSA key of 16384 bits, the longest that OpenSSH makes, has 12600."""

MAX_KNOWN_HOSTS_LENGTH = 64 * 1024
"""Characters: several hundred lines. All of a request travels in one Mesos task."""

MAX_DEPTH = 1_000_000
"""Commits; Linux has 1.4 million, for which 0 is meant."""

_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<kind>(?:[A-Z0-9]+ )*PRIVATE KEY)-----\n"
    r"(?P<body>[A-Za-z0-9+/=:,. \n-]+)\n-----END (?P=kind)-----\n",
    re.ASCII,
)
# sshd(8), SSH_KNOWN_HOSTS FILE FORMAT: [@marker] hosts key-type base64 [comment].
_KNOWN_HOST = re.compile(
    r"(?:@(?:cert-authority|revoked)[ \t]+)?"
    r"[^\s@#]\S*[ \t]+[A-Za-z0-9@.-]+[ \t]+[A-Za-z0-9+/]+=*(?:[ \t][^\x00-\x08\x0a-\x1f\x7f]*)?"
)
_OPENSSH_MAGIC = b"openssh-key-v1\0"


def private_key(text: str) -> str:
    """A private key as ssh(1) reads it: PEM or OpenSSH's own, without a passphrase."""
    text = text.replace("\r\n", "\n").strip() + "\n"
    if len(text) > MAX_KEY_LENGTH:
        raise InvalidValueError(f"the key is longer than {MAX_KEY_LENGTH} characters")
    if text.startswith("PuTTY-User-Key-File"):
        raise InvalidValueError("this is a key for PuTTY; export it as an OpenSSH key (puttygen)")
    if text.startswith(("ssh-", "ecdsa-", "sk-")) or "PUBLIC KEY-----" in text[:60]:
        raise InvalidValueError("this is a public key; give the private one, as in ~/.ssh/id_…")
    found = _PRIVATE_KEY.fullmatch(text)
    if found is None:
        raise InvalidValueError(
            "this is no private key: the text of one begins with '-----BEGIN … PRIVATE KEY-----'"
        )
    if _is_encrypted(found["kind"], found["body"]):
        raise InvalidValueError(
            "the key has a passphrase, and nobody is there to type it; give a deploy key without "
            "one (`ssh-keygen -p` takes it off a copy)"
        )
    return text


def _is_encrypted(kind: str, body: str) -> bool:
    """PKCS#8 and RFC 1421 say so in the open; OpenSSH names the cipher first (PROTOCOL.key)."""
    if kind.startswith("ENCRYPTED") or "Proc-Type: 4,ENCRYPTED" in body:
        return True
    if not kind.startswith("OPENSSH"):
        return False
    try:
        raw = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidValueError("the private key is damaged: it is not base64") from None
    if not raw.startswith(_OPENSSH_MAGIC):
        raise InvalidValueError("the private key is damaged: it does not begin as OpenSSH's do")
    start = len(_OPENSSH_MAGIC) + 4
    length = int.from_bytes(raw[start - 4 : start], "big")
    return raw[start : start + length] != b"none"


def known_hosts(text: str) -> str:
    """Lines of a known_hosts file, at least one with a key."""
    if len(text) > MAX_KNOWN_HOSTS_LENGTH:
        raise InvalidValueError(f"it is longer than {MAX_KNOWN_HOSTS_LENGTH} characters")
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise InvalidValueError("it has no host's key; `ssh-keyscan HOST` prints them")
    for number, line in enumerate(lines, start=1):
        if line in keys and not _KNOWN_HOST.fullmatch(line):
            raise InvalidValueError(f"line {number} is not `HOST KEY-TYPE KEY`")
    return "\n".join(lines) + "\n"


def login_host(text: str) -> str:
    """`name[:port]` of a git server, in lower case."""
    try:
        url = validate.git_url(f"https://{text}/x", ("https",))
    except InvalidValueError:
        url = ""
    if "@" in text or "/" in text or not url:
        raise InvalidValueError("it is no host name with an optional port, like git.example.org")
    return url.removeprefix("https://").removesuffix("/x")


def depth(commits: int) -> int:
    """Commits of history; 0 is all of it."""
    if not 0 <= commits <= MAX_DEPTH:
        raise InvalidValueError(f"it is not 0 (the whole history) to {MAX_DEPTH} commits")
    return commits
